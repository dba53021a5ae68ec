//! What a stream loses before it is delivered is announced, with its range and before the message after it;
//! what it has is delivered; and a stream that is another one resets. Each case against nats-server 2.9 and
//! a current one.

mod behind;
#[path = "../e2e/client.rs"]
#[allow(dead_code)]
mod client;
mod cluster;
mod last_values;
mod losses;
mod others;
mod overload;
mod replaced;
#[path = "../e2e/server.rs"]
#[allow(dead_code)]
mod server;
#[path = "../e2e/stream.rs"]
#[allow(dead_code)]
mod stream;
#[path = "../support/mod.rs"]
mod support;
mod world;

use support::nats;

/// Makes two tests of each case: `old::` and `current::`.
macro_rules! with_both_servers {
    ($($case:ident),+ $(,)?) => {
        mod old {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case($crate::support::nats::Version::Old).await;
            })+
        }
        mod current {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case($crate::support::nats::Version::Current).await;
            })+
        }
    };
}
pub(crate) use with_both_servers;
