//! RocketMQ from Rust: sending, consuming, and asking and telling the cluster what tools do.
//!
//! It speaks the remoting protocol of the official servers from 4.9 on, shares consumer groups with
//! the official Java and Go clients, and needs nothing but tokio. Addresses of brokers come from
//! the namesrvs.
//!
//! **Sending.** [`Producer`]: waits for the broker's answer, retries on another broker; many sends
//! run side by side.
//! ```no_run
//! # async fn example() -> Result<(), rmq_client::Error> {
//! use rmq_client::{Message, Producer, producer::Options};
//!
//! let producer = Producer::start(Options::new("127.0.0.1:9876", "billing")).await?;
//! let receipt = producer.send(Message::new("orders", "paid")).await?;
//! println!("{} lies in queue {} at {}", receipt.message_id, receipt.queue.queue_id, receipt.queue_offset);
//! let batch = (0..100).map(|number| Message::new("orders", format!("order {number}"))).collect();
//! producer.send_batch(batch).await?;
//! producer.send_ordered(Message::new("orders", "shipped"), "customer 7").await?;
//! producer.stop().await;
//! # Ok(()) }
//! ```
//!
//! **Consuming.** [`Consumer`]: a member of a group that has messages handed to a function; what
//! the function does not finish comes again.
//! ```no_run
//! # async fn example() -> Result<(), rmq_client::Error> {
//! use rmq_client::{Consumer, consumer::{Delivery, Options, Outcome}};
//!
//! let options = Options::new("127.0.0.1:9876", "shipping").subscribe("orders", "paid || prepaid");
//! let consumer = Consumer::start(options, |delivery: Delivery| async move {
//!     for message in delivery.iter() {
//!         println!("{}: {:?}", message.msg_id, message.message.body);
//!     }
//!     Outcome::Done
//! }).await?;
//! // ... until the program is to end:
//! consumer.stop().await;
//! # Ok(()) }
//! ```
//!
//! **Reading by hand.** [`PullConsumer`]: any queue from any offset.
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use rmq_client::PullConsumer;
//!
//! let reader = PullConsumer::start("127.0.0.1:9876", "audit").await?;
//! for queue in reader.queues("orders").await? {
//!     let pulled = reader.pull(&queue, 0, 32, false).await?;
//!     println!("{} messages, the queue ends at {}", pulled.messages()?.len(), pulled.max);
//! }
//! # Ok(()) }
//! ```
//!
//! **Administration.** [`Admin`]: topics, groups, offsets, messages, settings; what the operator
//! and the command line use.
//! ```no_run
//! # async fn example() -> Result<(), rmq_client::Error> {
//! use rmq_client::{Admin, topic};
//!
//! let admin = Admin::new("127.0.0.1:9876")?;
//! for master in admin.masters(None).await? {
//!     admin.put_topic(&master.address, &topic::Config::new("orders", 8, 8, topic::READ_WRITE)).await?;
//! }
//! # Ok(()) }
//! ```
//!
//! | room | what |
//! |---|---|
//! | [`producer`], [`consumer`], [`admin`] | the three kinds of client |
//! | `session.rs` | what one client is to the cluster: id, connections, heartbeats |
//! | `route.rs` | who serves a topic, kept fresh |
//! | `link.rs` | one question to one server, or to the namesrvs; where a bad answer becomes an [`Error`] |
//! | `compression.rs` | bodies made small and whole again |
//!
//! Errors are values with a condition and a remedy ([`Error::remedy`]). Nothing here prints; what
//! happens in the background is told through `tracing`. Every queue, cache and wait has a limit,
//! named where it is used.

pub mod admin;
mod compression;
pub mod consumer;
mod error;
mod link;
pub mod producer;
mod route;
mod session;

pub use admin::Admin;
pub use consumer::{Consumer, PullConsumer};
pub use error::Error;
pub use producer::Producer;
pub use rmq_protocol::message::{Message, MessageExt, MessageQueue, properties};

/// Topics as brokers configure them.
pub mod topic {
    pub use rmq_protocol::body::TopicConfig as Config;
    use rmq_protocol::body::perm;

    /// Permission to send and to consume.
    pub const READ_WRITE: i32 = perm::READ | perm::WRITE;
}
