//! Every key of `namesrv.conf`: how it is parsed and shown, and whether a running namesrv accepts a
//! change. Parsing, `--check`, and requests 318 and 319 all use this list.

use super::Config;
use std::time::Duration;

/// When a change of a setting takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TakesEffect {
    AtOnce,
    AtStart,
}

pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) takes: TakesEffect,
    /// A description for operators.
    pub(super) meaning: &'static str,
    pub(super) show: fn(&Config) -> String,
    /// Fails with a description of the expected value.
    pub(super) read: fn(&mut Config, &str) -> Result<(), &'static str>,
}

macro_rules! flag {
    ($name:literal, $field:ident, $meaning:literal) => {
        Key {
            name: $name,
            takes: TakesEffect::AtOnce,
            meaning: $meaning,
            show: |config| config.$field.to_string(),
            read: |config, text| {
                config.$field = flag(text)?;
                Ok(())
            },
        }
    };
}

macro_rules! path {
    ($name:literal, $field:ident, $meaning:literal) => {
        Key {
            name: $name,
            takes: TakesEffect::AtStart,
            meaning: $meaning,
            show: |config| config.$field.display().to_string(),
            read: |config, text| {
                if text.is_empty() {
                    return Err("the path of a file");
                }
                config.$field = text.into();
                Ok(())
            },
        }
    };
}

pub(super) const KEYS: [Key; 18] = [
    Key {
        name: "listenPort",
        takes: TakesEffect::AtStart,
        meaning: "for brokers and clients; 0 is any free one",
        show: |config| config.listen_port.to_string(),
        read: |config, text| {
            config.listen_port = text.parse().map_err(|_| "a port, 0 to 65535 (0: any free one)")?;
            Ok(())
        },
    },
    Key {
        name: "bindAddress",
        takes: TakesEffect::AtStart,
        meaning: "the local address of all ports",
        show: |config| config.bind_address.to_string(),
        read: |config, text| {
            config.bind_address = text.parse().map_err(|_| "an IP address of this machine, 0.0.0.0 or ::")?;
            Ok(())
        },
    },
    Key {
        name: "httpPort",
        takes: TakesEffect::AtStart,
        meaning: "for /healthz, /readyz and /metrics; 0 is none",
        show: |config| config.http_port.to_string(),
        read: |config, text| {
            config.http_port = text.parse().map_err(|_| "a port, 0 to 65535 (0: none)")?;
            Ok(())
        },
    },
    Key {
        name: "serverChannelMaxIdleTimeSeconds",
        takes: TakesEffect::AtStart,
        meaning: "a connection silent for so many seconds is closed",
        show: |config| config.idle.as_secs().to_string(),
        read: |config, text| {
            config.idle = Duration::from_secs(at_least_one(text)?);
            Ok(())
        },
    },
    Key {
        name: "scanNotActiveBrokerInterval",
        takes: TakesEffect::AtStart,
        meaning: "interval of the scan for brokers without heartbeats, in milliseconds",
        show: |config| config.scan_interval.as_millis().to_string(),
        read: |config, text| {
            config.scan_interval = Duration::from_millis(at_least_one(text)?);
            Ok(())
        },
    },
    Key {
        name: "maxRouteTableBytes",
        takes: TakesEffect::AtStart,
        meaning: "memory for routes, in bytes; registrations beyond it are refused; 0 is an eighth of the memory",
        show: |config| config.max_route_table_bytes.to_string(),
        read: |config, text| {
            config.max_route_table_bytes = text
                .parse()
                .map_err(|_| "a number of bytes from 0 to 18446744073709551615 (0: an eighth of the memory)")?;
            Ok(())
        },
    },
    path!("kvConfigPath", kv_config_path, "the file of the KV table"),
    path!(
        "configStorePath",
        config_store_path,
        "the file to which changes of settings are written (default: the one given with -c)"
    ),
    Key {
        name: "configBlackList",
        takes: TakesEffect::AtStart,
        meaning: "keys that may not be changed at run time, joined by ';'",
        show: |config| config.black_list.join(";"),
        read: |config, text| {
            config.black_list =
                text.split(';').map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned).collect();
            Ok(())
        },
    },
    flag!("orderMessageEnable", order_message_enable, "routes carry the fixed order of their topic"),
    flag!(
        "returnOrderTopicConfigToBroker",
        return_order_topic_config_to_broker,
        "registrations are answered with all fixed orders"
    ),
    flag!("supportActingMaster", support_acting_master, "routes show a slave as master where brokers permit it"),
    flag!(
        "notifyMinBrokerIdChanged",
        notify_min_broker_id_changed,
        "members of a group that permits acting masters are notified when its lowest id changes"
    ),
    flag!(
        "deleteTopicWithBrokerRegistration",
        delete_topic_with_broker_registration,
        "topics that a registration does not name are removed"
    ),
    flag!("enableAllTopicList", enable_all_topic_list, "the list of all topics is answered"),
    flag!(
        "enableTopicList",
        enable_topic_list,
        "the other lists of topics are answered: system topics, those of a cluster, those by unit"
    ),
    flag!("needWaitForService", need_wait_for_service, "routes are refused until brokers had time to register"),
    Key {
        name: "waitSecondsForService",
        takes: TakesEffect::AtOnce,
        meaning: "that time, in seconds",
        show: |config| config.wait_for_service.as_secs().to_string(),
        read: |config, text| {
            // More than a century, so that adding the duration to a time does not overflow.
            let seconds: u32 = text.parse().map_err(|_| "a number of seconds from 0 to 4294967295")?;
            config.wait_for_service = Duration::from_secs(seconds.into());
            Ok(())
        },
    },
];

/// Keys of Java's namesrv that have no meaning here, with the reason.
pub(super) const WITHOUT_MEANING: [(&str, &str); 68] = {
    const POOLS: &str =
        "there are no thread pools to size: one thread a core reads and answers, one carries out changes";
    const NETTY: &str = "it tunes Netty, which is not used here";
    const CLIENT: &str = "it tunes the client side of Netty, which is not used here";
    const TEST: &str = "routes are not looked up in another environment";
    const HOME: &str = "nothing is read from an installation folder";
    const CONTROLLER: &str = "there is no controller here: who is master is decided by Kubernetes, or fixed";
    const METRICS: &str = "metrics are not pushed: they are scraped at /metrics of httpPort";
    const STOP: &str = "a stop always lets requests in hand finish, within 5 s";
    [
        ("rocketmqHome", HOME),
        ("productEnvName", TEST),
        ("clusterTest", TEST),
        ("enableControllerInNamesrv", CONTROLLER),
        ("clientRequestThreadPoolNums", POOLS),
        ("defaultThreadPoolNums", POOLS),
        ("clientRequestThreadPoolQueueCapacity", POOLS),
        ("defaultThreadPoolQueueCapacity", POOLS),
        ("unRegisterBrokerQueueCapacity", POOLS),
        ("serverWorkerThreads", POOLS),
        ("serverCallbackExecutorThreads", POOLS),
        ("serverSelectorThreads", POOLS),
        ("serverOnewaySemaphoreValue", POOLS),
        ("serverAsyncSemaphoreValue", POOLS),
        ("serverSocketSndBufSize", NETTY),
        ("serverSocketRcvBufSize", NETTY),
        ("writeBufferHighWaterMark", NETTY),
        ("writeBufferLowWaterMark", NETTY),
        ("serverSocketBacklog", NETTY),
        ("serverNettyWorkerGroupEnable", NETTY),
        ("serverPooledByteBufAllocatorEnable", NETTY),
        ("useEpollNativeSelector", NETTY),
        ("enableShutdownGracefully", STOP),
        ("shutdownWaitTimeSeconds", STOP),
        ("clientWorkerThreads", CLIENT),
        ("clientCallbackExecutorThreads", CLIENT),
        ("clientOnewaySemaphoreValue", CLIENT),
        ("clientAsyncSemaphoreValue", CLIENT),
        ("connectTimeoutMillis", CLIENT),
        ("channelNotActiveInterval", CLIENT),
        ("clientChannelMaxIdleTimeSeconds", CLIENT),
        ("clientSocketSndBufSize", CLIENT),
        ("clientSocketRcvBufSize", CLIENT),
        ("clientPooledByteBufAllocatorEnable", CLIENT),
        ("clientCloseSocketIfTimeout", CLIENT),
        ("socksProxyConfig", CLIENT),
        ("controllerDLegerGroup", CONTROLLER),
        ("controllerDLegerPeers", CONTROLLER),
        ("controllerDLegerSelfId", CONTROLLER),
        ("controllerRequestThreadPoolQueueCapacity", CONTROLLER),
        ("controllerStorePath", CONTROLLER),
        ("controllerThreadPoolNums", CONTROLLER),
        ("controllerType", CONTROLLER),
        ("electMasterMaxRetryCount", CONTROLLER),
        ("enableElectUncleanMaster", CONTROLLER),
        ("isProcessReadEvent", CONTROLLER),
        ("jraftConfig", CONTROLLER),
        ("mappedFileSize", CONTROLLER),
        ("notifyBrokerRoleChanged", CONTROLLER),
        ("processReadEvent", CONTROLLER),
        ("scanInactiveMasterInterval", CONTROLLER),
        ("metricGrpcExporterIntervalInMills", METRICS),
        ("metricGrpcExporterTimeOutInMills", METRICS),
        ("metricLoggingExporterIntervalInMills", METRICS),
        ("metricsExporterType", METRICS),
        ("metricsGrpcExporterHeader", METRICS),
        ("metricsGrpcExporterTarget", METRICS),
        ("metricsInDelta", METRICS),
        ("metricsLabel", METRICS),
        ("metricsPromExporterHost", METRICS),
        ("metricsPromExporterPort", METRICS),
        ("disableCallbackExecutor", CLIENT),
        ("disableNettyWorkerGroup", CLIENT),
        ("enableReconnectForGoAway", CLIENT),
        ("isScanAvailableNameSrv", CLIENT),
        ("scanAvailableNameSrv", CLIENT),
        ("maxReconnectIntervalTimeSeconds", CLIENT),
        ("useTLS", CLIENT),
    ]
};

/// Keys that must never be changed by a request, whatever `configBlackList` says: a peer that could
/// change a path could write to any file.
pub(super) const ALWAYS_BLACK_LISTED: [&str; 4] =
    ["configBlackList", "configStorePath", "kvConfigPath", "rocketmqHome"];

fn flag(text: &str) -> Result<bool, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("true or false"),
    }
}

fn at_least_one(text: &str) -> Result<u64, &'static str> {
    let number: Option<u32> = text.parse().ok().filter(|number| *number > 0);
    number.map(u64::from).ok_or("a number from 1 to 4294967295")
}
