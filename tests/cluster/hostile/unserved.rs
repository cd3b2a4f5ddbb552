//! Requests for what a broker does not have: refused with words that tell what to do instead.

use super::peer::{Server, request};
use rmq_protocol::{Command, Fields, RequestCode, ResponseCode};

fn numbered(code: i32) -> Command {
    Command { code, ..request(RequestCode::BrokerConfig) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_asks_for_what_is_not_there_learns_why() {
    let server = Server::start("unserved", &[]).await;
    let mut peer = server.peer().await;
    let reasons = [
        (355, "RocksDB"),
        (401, "POP"),
        (513, "static topics"),
        (902, "container"),
        (1007, "controller"),
        (2001, "cold data"),
        (2004, "kernel"),
        (3001, "users"),
        (5001, "delay levels"),
    ];
    for (code, word) in reasons {
        // The body of a request that is not served is not read.
        let answer = peer.ask(numbered(code).with_body(b"{[\xff".to_vec())).await;
        let remark = answer.remark.unwrap_or_default();
        assert_eq!(answer.code, ResponseCode::RequestCodeNotSupported.number(), "{code}: {remark}");
        assert!(remark.starts_with(&format!("request type {code} not supported: ")), "{code}: {remark}");
        assert!(remark.contains(word), "{code}: {remark}");
    }
    for code in [-32_768, -1, 0, 7, 32_767] {
        let answer = peer.ask(numbered(code)).await;
        assert_eq!(answer.remark.as_deref(), Some(format!("request type {code} not supported").as_str()));
    }
    // Without a table in the answer tools say that there is none.
    let table = peer.ask(request(RequestCode::ColdDataFlowControlInfo)).await;
    assert_eq!((table.code, table.body.len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flushed_offset_is_set_on_no_slave_and_ignored_by_a_master() {
    let reset = |offset: &str| {
        let mut command = request(RequestCode::ResetMasterFlushOffset);
        command.fields = Fields::new();
        command.fields.push("masterFlushOffset", offset);
        command
    };
    let master = Server::start("flushed-master", &[]).await;
    let slave = Server::start("flushed-slave", &[("brokerRole", "SLAVE"), ("brokerId", "1")]).await;
    for offset in ["0", "-1", "9223372036854775807"] {
        assert_eq!(master.peer().await.ask(reset(offset)).await.code, 0, "{offset}");
        let refused = slave.peer().await.ask(reset(offset)).await;
        assert_eq!(refused.code, ResponseCode::SystemError.number(), "{offset}");
        assert!(refused.remark.is_some_and(|remark| remark.contains(&format!("set to {offset}"))), "{offset}");
    }
    for server in [master, slave] {
        let refused = server.peer().await.ask(reset("x")).await;
        assert_eq!(refused.code, ResponseCode::SystemError.number());
        assert!(refused.remark.is_some_and(|remark| remark.contains("masterFlushOffset")));
    }
}
