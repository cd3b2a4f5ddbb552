{{- define "cluster.name" -}}
{{ .Values.name | default .Release.Name }}
{{- end }}

{{- define "cluster.labels" -}}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}
