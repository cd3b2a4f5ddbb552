//! A RocketMQ client for Rust: sending, consuming, and the administrative requests of tools.
//!
//! It speaks the remoting protocol of the official servers from 4.9 on, shares consumer groups with
//! the official Java and Go clients, and needs nothing but tokio. Addresses of brokers come from
//! the namesrvs.
//!
//! **Sending.** [`Producer`]: waits for the broker's response, retries on another broker; many
//! sends run concurrently.
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
//! **Consuming.** [`Consumer`]: a member of a group that passes messages to a function; unfinished
//! messages are delivered again.
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
//! **Manual reading.** [`PullConsumer`]: any queue from any offset.
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
//! **Administration.** [`Admin`]: topics, groups, offsets, messages, settings; the operator and the
//! command line use it.
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
//! | module | contents |
//! |---|---|
//! | [`producer`], [`consumer`], [`admin`] | the three kinds of client |
//! | `session.rs` | one client's presence in the cluster: id, connections, heartbeats |
//! | `route.rs` | cached routes of topics |
//! | `link.rs` | requests to one server or to the namesrvs; refusals become an [`Error`] |
//! | `compression.rs` | compression of bodies |
//!
//! Errors are values with a condition and a remedy ([`Error::remedy`]). Nothing here prints;
//! background events are logged through `tracing`. Every queue, cache and wait has a limit, which
//! is named where it is used.

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
