//! Topics: requests 17, 21, 202, 215 to 217, 300, 351 and their responses.

use super::header;

header! {
    /// 17.
    CreateTopic<S> {
        topic: S = "topic",
        default_topic: S = "defaultTopic",
        read_queues: i32 = "readQueueNums",
        write_queues: i32 = "writeQueueNums",
        /// See [`crate::body::perm`].
        perm: i32 = "perm",
        /// Always `SINGLE_TAG`.
        filter_type: S = "topicFilterType",
        sys_flag: Option<i32> = "topicSysFlag",
        order: Option<bool> = "order",
        /// `+key=value,-key`.
        attributes: Option<S> = "attributes",
        force: Option<bool> = "force",
    }

    /// 21: optionally in parts; without fields all of them.
    AllTopicConfig<S> {
        /// First entry wanted, in order of names.
        sequence: Option<i32> = "topicSeq",
        /// The version that the first part had, as JSON.
        data_version: Option<S> = "dataVersion",
        max: Option<i32> = "maxTopicNum",
    }

    /// How many there are.
    AllTopicConfigResponse {
        total: Option<i32> = "totalTopicNum",
    }

    /// 105, 202, 215, 300, 351 and others: a topic.
    TopicRequest<S> {
        topic: S = "topic",
    }

    /// 105: a route.
    RouteInfo<S> {
        topic: S = "topic",
        /// The client reads quoted keys.
        standard_json: Option<bool> = "acceptStandardJsonOnly",
    }

    /// 216.
    DeleteTopicInNamesrv<S> {
        topic: S = "topic",
        cluster_name: Option<S> = "clusterName",
    }

    /// 224.
    TopicsByCluster<S> {
        cluster: S = "cluster",
    }
}
