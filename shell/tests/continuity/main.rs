//! What a stream loses before it is delivered is announced, with its range and before the message after it;
//! what it has is delivered; and a stream that is another one resets. Each case against nats-server 2.9 and
//! a current one.

mod last_values;
mod losses;
mod others;
mod replaced;
#[path = "../support/mod.rs"]
mod support;
mod world;

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
