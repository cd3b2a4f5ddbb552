//! Topics: requests 17, 21, 202, 215 to 217, 300, 351 and their answers.

use super::header;

header! {
    /// 17.
    CreateTopic<'a> {
        topic: &'a str = "topic",
        default_topic: &'a str = "defaultTopic",
        read_queues: i32 = "readQueueNums",
        write_queues: i32 = "writeQueueNums",
        /// See [`crate::body::perm`].
        perm: i32 = "perm",
        /// Always `SINGLE_TAG`.
        filter_type: &'a str = "topicFilterType",
        sys_flag: Option<i32> = "topicSysFlag",
        order: Option<bool> = "order",
        /// `+key=value,-key`.
        attributes: Option<&'a str> = "attributes",
        force: Option<bool> = "force",
    }

    /// 21: optionally in parts; without fields all of them.
    AllTopicConfig<'a> {
        /// First entry wanted, in order of names.
        sequence: Option<i32> = "topicSeq",
        /// The version that the first part had, as JSON.
        data_version: Option<&'a str> = "dataVersion",
        max: Option<i32> = "maxTopicNum",
    }

    /// How many there are.
    AllTopicConfigResponse {
        total: Option<i32> = "totalTopicNum",
    }

    /// 105, 202, 215, 300, 351 and others: a topic.
    TopicRequest<'a> {
        topic: &'a str = "topic",
    }

    /// 105: a route.
    RouteInfo<'a> {
        topic: &'a str = "topic",
        /// The client reads quoted keys.
        standard_json: Option<bool> = "acceptStandardJsonOnly",
    }

    /// 216.
    DeleteTopicInNamesrv<'a> {
        topic: &'a str = "topic",
        cluster_name: Option<&'a str> = "clusterName",
    }

    /// 224.
    TopicsByCluster<'a> {
        cluster: &'a str = "cluster",
    }
}
