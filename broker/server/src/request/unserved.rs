//! What to tell the tool whose request this broker does not serve.

/// Why this broker lacks what a request of Java's table is for, and what to do instead.
///
/// A tool prints the text of a refusal, so these words are all that its user sees.
pub(super) fn why(number: i32) -> Option<&'static str> {
    let why = match number {
        370 => "this broker takes no delayed message back",
        354 | 355 => "tables and queues of this broker are Java's files, not RocksDB: read the files",
        400 | 401 | 200_050..=200_059 | 200_151 => "this broker has no POP: let consumers pull",
        513 => "this broker has no static topics: make a topic with updateTopic",
        902 | 903 => "this process is one broker, not a container: start a process for each broker",
        1001..=1018 => "roles are static and there is no controller: brokerId 0 is the master",
        2001 | 2002 => {
            "this broker has no flow control of cold data, so a threshold would limit nothing: \
             limit the consumer that reads old messages instead"
        }
        2004 => "the kernel decides what is read ahead of the commit log: no mode can be set",
        3001..=3010 => "this broker has no users and access rules: limit who can connect to its ports",
        5001 => "delayed messages have one engine, the delay levels",
        200_070..=200_079 => "this broker has no lite topics",
        _ => return None,
    };
    Some(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmq_protocol::RequestCode;

    #[test]
    fn codes_beyond_two_bytes_have_reasons_too() {
        assert!(why(RequestCode::PopMessage.number()).is_some_and(|why| why.contains("POP")));
        assert!(why(RequestCode::BatchAckMessage.number()).is_some_and(|why| why.contains("POP")));
        assert!(why(200_074).is_some_and(|why| why.contains("lite topics")));
        assert_eq!([i32::MIN, 0, 200_080, i32::MAX].map(why), [None; 4]);
    }
}
