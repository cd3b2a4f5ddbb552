//! Members that each get everything.

use super::*;
use rmq_client::{
    Consumer,
    consumer::{Model, Outcome},
};

async fn start(instance: &str, dir: &std::path::Path, seen: &Seen) -> Consumer {
    let mut options = options("everyone-g", "everyone").await;
    options.model = Model::Broadcasting;
    options.instance = Some(instance.to_owned());
    options.offset_dir = dir.to_owned();
    let seen = seen.clone();
    Consumer::start(options, move |delivery| {
        seen.add(&delivery);
        // Nothing comes again to a broadcasting member, whatever it says.
        async { Outcome::Later }
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_member_gets_everything_once_and_goes_on_where_it_was() {
    create_topic("everyone", 3).await;
    let dir = tempfile::tempdir().unwrap();
    let (producer, one, other) = (producer().await, Seen::default(), Seen::default());
    let members = [start("one", dir.path(), &one).await, start("other", dir.path(), &other).await];
    send_numbers(&producer, "everyone", 0..60).await;
    one.distinct(60).await;
    other.distinct(60).await;
    for member in members {
        member.stop().await;
    }
    send_numbers(&producer, "everyone", 60..90).await;
    let member = start("one", dir.path(), &one).await;
    one.distinct(90).await;
    member.stop().await;
    assert_eq!((one.total(), other.total()), (90, 60));
    producer.stop().await;
}
