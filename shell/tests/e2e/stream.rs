//! The stream that the server follows, seen by somebody else: a publisher, an operator, a judge.

use std::time::Duration;

use async_nats::jetstream::{self, consumer, stream};
use futures_util::TryStreamExt;

use crate::nats::NatsServer;

/// A connection to the running server, which never gives up.
pub(crate) async fn client(nats: &NatsServer) -> async_nats::Client {
    let pause = |_| Duration::from_millis(20);
    let options = async_nats::ConnectOptions::new().reconnect_delay_callback(pause);
    let client = options.connect(nats.url()).await;
    client.expect("nats-server takes a client")
}

/// JetStream over a connection of its own. What is not answered within two seconds counts as failed.
pub(crate) async fn jetstream(nats: &NatsServer) -> jetstream::Context {
    jetstream::ContextBuilder::new()
        .timeout(Duration::from_secs(2))
        .build(client(nats).await)
}

/// Publishes to a channel and waits for the acknowledgement, with the seq in it.
pub(crate) async fn publish(jetstream: &jetstream::Context, channel: &str, payload: &str) -> u64 {
    let subject = format!("odin.token.{channel}");
    let ack = jetstream.publish(subject, payload.to_owned().into()).await;
    let ack = ack.expect("the message goes out").await;
    ack.expect("the stream stores it").sequence
}

/// A stream with the server's default name and subjects, as the server itself would create it.
pub(crate) async fn create_stream(jetstream: &jetstream::Context) -> stream::Stream {
    let config = stream::Config {
        name: "ODIN_TOKENS".to_owned(),
        subjects: vec!["odin.token.>".to_owned()],
        allow_direct: true,
        ..Default::default()
    };
    // The server may have created it meanwhile.
    let stream = jetstream.get_or_create_stream(config).await;
    stream.expect("a stream")
}

/// A message as the stream has it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Stored {
    /// Its seq in the stream.
    pub(crate) seq: u64,
    /// Its subject without `odin.token.`.
    pub(crate) channel: String,
    /// Its payload.
    pub(crate) payload: Vec<u8>,
}

/// Everything that the stream has, in its order.
pub(crate) async fn content(stream: &mut stream::Stream) -> Vec<Stored> {
    let count = stream.info().await.expect("its state").state.messages;
    let config = consumer::pull::Config {
        ack_policy: consumer::AckPolicy::None,
        ..Default::default()
    };
    let consumer = stream.create_consumer(config).await.expect("a consumer");
    let mut stored = Vec::new();
    while (stored.len() as u64) < count {
        let batch = consumer.batch().max_messages(5000);
        let batch = batch.expires(Duration::from_secs(1)).messages().await;
        let batch = batch.expect("a batch").map_ok(|message| Stored {
            seq: message.info().expect("its place").stream_sequence,
            channel: message
                .subject
                .strip_prefix("odin.token.")
                .expect("a subject of the stream")
                .to_owned(),
            payload: message.payload.to_vec(),
        });
        stored.extend(batch.try_collect::<Vec<_>>().await.expect("messages"));
    }
    assert_eq!(stored.len() as u64, count);
    stored
}
