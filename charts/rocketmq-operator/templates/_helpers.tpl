{{- define "operator.name" -}}
{{- if contains "rocketmq-operator" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-rocketmq-operator" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "operator.selector" -}}
app.kubernetes.io/name: rocketmq-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "operator.labels" -}}
{{ include "operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "operator.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* What reconciling needs, verb by verb. A test of the project runs under exactly these. */}}
{{- define "operator.rules" -}}
# Objects are read and watched; finalizers of topics and consumer groups are patched, and of clusters an annotation that was carried out.
- apiGroups: [rocketmq.rs]
  resources: [rocketmqclusters, rocketmqtopics, rocketmqconsumergroups]
  verbs: [get, list, watch, patch]
- apiGroups: [rocketmq.rs]
  resources: [rocketmqclusters/status, rocketmqtopics/status, rocketmqconsumergroups/status]
  verbs: [patch]
# Children: server-side apply is patch, and create where there is nothing yet.
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps, services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, list, create, patch, delete]
# Why a pod is not ready is reported in the status; pods are annotated before their StatefulSet is recreated. A slave whose log
# differs is deleted when the annotation rocketmq.rs/recover says so.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, patch, delete]
# Volumes grow, and are kept from tools that would prune them. That of a slave that is replaced is deleted with it.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
