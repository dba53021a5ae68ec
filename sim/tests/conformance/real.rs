//! A real nats-server, asked by the shell's own source and history.

use std::time::Duration;

use async_nats::jetstream::{self, stream};
use odin_core::config::FeedConfig;
use odin_shell::source::NatsOptions;
use odin_shell::source::jetstream::{JetStream, JetStreamOptions};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::PAYLOAD_BYTES_MAX;
use crate::nats::{NatsServer, Version};
use crate::observe::{Stage, observe};
use crate::ops::{Op, SUBJECTS, Sequence};
use crate::payload;
use odin_sim::broker::PREFIX;
use odin_sim::jetstream::Limits;

const STREAM: &str = "CONFORMANCE";

/// A server, and the connection over which its stream is changed.
pub(crate) struct Real {
    server: NatsServer,
    runtime: tokio::runtime::Runtime,
}

impl Real {
    pub(crate) fn start(version: Version) -> Self {
        Self {
            server: NatsServer::start_version(version),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime"),
        }
    }

    /// What is observed of the server.
    pub(crate) fn run(&mut self, sequence: &Sequence) -> Vec<String> {
        let server = &mut self.server;
        self.runtime.block_on(async {
            let mut admin = Admin::new(server, sequence).await;
            let options = NatsOptions {
                url: admin.server.url(),
                ..NatsOptions::default()
            };
            let stream = JetStreamOptions {
                stream: STREAM.into(),
                subject: format!("{PREFIX}>"),
            };
            let config = FeedConfig {
                payload_bytes_max: PAYLOAD_BYTES_MAX,
                ..FeedConfig::default()
            };
            let made = JetStream::new(&options, stream, PREFIX, &config).await;
            let (source, _) = made.expect("the options are good");
            let history = source.history(PREFIX, &config);
            observe(&mut admin, source, history, sequence).await
        })
    }
}

struct Admin<'a> {
    server: &'a mut NatsServer,
    context: jetstream::Context,
    limits: Limits,
    memory: bool,
    backup: Option<NatsServer>,
}

impl<'a> Admin<'a> {
    /// Creates the stream anew.
    async fn new(server: &'a mut NatsServer, sequence: &Sequence) -> Self {
        let context = connect(server).await;
        let admin = Self {
            server,
            context,
            limits: sequence.limits,
            memory: sequence.memory,
            backup: None,
        };
        admin.create().await;
        admin
    }

    /// Creates the stream, instead of the one that is there.
    async fn create(&self) {
        // A server that deletes a store takes a moment to: until then a new stream fails, or finds what is left.
        for _ in 0..200 {
            if self.context.get_stream(STREAM).await.is_ok() {
                let deleted = self.context.delete_stream(STREAM).await;
                deleted.expect("the stream can be deleted");
            }
            let created = self.context.create_stream(self.config()).await;
            if created.is_ok() && self.last_seq().await == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the stream cannot be created anew");
    }

    fn config(&self) -> stream::Config {
        let number = |limit: u64| match limit {
            0 => -1,
            limit => i64::try_from(limit).expect("small"),
        };
        let mut subjects = vec![format!("{PREFIX}>")];
        subjects.extend(self.limits.foreign.then(|| "orders.>".into()));
        stream::Config {
            name: STREAM.into(),
            subjects,
            max_messages: number(self.limits.messages as u64),
            max_bytes: number(self.limits.bytes),
            max_messages_per_subject: number(self.limits.per_subject as u64),
            storage: match self.memory {
                true => stream::StorageType::Memory,
                false => stream::StorageType::File,
            },
            allow_direct: true,
            ..Default::default()
        }
    }

    async fn request(&self, what: &str, body: Value) -> Value {
        let subject = format!("STREAM.{what}.{STREAM}");
        let answer = self.context.request(subject, &body).await;
        answer.unwrap_or_else(|error| panic!("{what} {body}: {error}"))
    }

    async fn publish(&self, subject: usize, times: usize, bytes: usize) -> String {
        let mut last = self.last_seq().await;
        for _ in 0..times {
            let payload = payload(last + 1, bytes);
            let sent = self
                .context
                .publish(SUBJECTS[subject], payload.into())
                .await;
            let stored = sent.expect("it can be sent").await.expect("it is stored");
            last = stored.sequence;
        }
        format!("stored {last}")
    }

    async fn last_seq(&self) -> u64 {
        let info = self.request("INFO", Value::Null).await;
        let seq = info.pointer("/state/last_seq").and_then(Value::as_u64);
        seq.unwrap_or_else(|| panic!("no last seq: {info}"))
    }

    async fn purge(&self, subject: Option<usize>, below: Option<u64>, keep: u64) -> String {
        let mut body = json!({});
        if let Some(subject) = subject {
            body["filter"] = SUBJECTS[subject].into();
        }
        if let Some(below) = below {
            body["seq"] = below.into();
        }
        if keep > 0 {
            body["keep"] = keep.into();
        }
        let answer = self.request("PURGE", body).await;
        match answer["purged"].as_u64() {
            Some(purged) => format!("purged {purged}"),
            None => format!("not purged: {answer}"),
        }
    }

    async fn drop_consumers(&self) {
        let subject = format!("CONSUMER.NAMES.{STREAM}");
        let list: Value = self
            .context
            .request(subject, &json!({}))
            .await
            .expect("the consumers can be listed");
        for name in list["consumers"].as_array().into_iter().flatten() {
            let name = name.as_str().unwrap_or_default();
            let deleted = self.context.delete_consumer_from_stream(name, STREAM).await;
            deleted.expect("the consumer can be deleted");
        }
    }

    fn stop(&mut self) {
        self.server.signal(Signal::TERM);
        self.server.ended();
    }

    async fn start(&mut self) {
        self.server.restart();
        self.context = connect(self.server).await;
    }
}

impl Stage for Admin<'_> {
    async fn apply(&mut self, op: &Op) -> String {
        match *op {
            Op::Publish {
                subject,
                times,
                bytes,
            } => self.publish(subject, times, bytes).await,
            Op::Purge {
                subject,
                below,
                keep,
            } => self.purge(subject, below, keep).await,
            Op::Delete(seq) => {
                let answer = self.request("MSG.DELETE", json!({ "seq": seq })).await;
                format!("deleted {}", answer["success"] == true)
            }
            Op::Limit(messages, bytes, per_subject) => {
                self.limits = Limits {
                    messages,
                    bytes,
                    per_subject,
                    ..self.limits
                };
                let stream = self.context.get_stream(STREAM).await;
                let stream = stream.expect("there is a stream");
                // A nonce stays.
                let metadata = stream.cached_info().config.metadata.clone();
                let config = stream::Config {
                    metadata,
                    ..self.config()
                };
                let updated = self.context.update_stream(config).await;
                updated.expect("the stream can be changed");
                "limited".into()
            }
            Op::Recreate => {
                self.create().await;
                "recreated".into()
            }
            Op::DropConsumers => {
                self.drop_consumers().await;
                "dropped".into()
            }
            Op::Restart => {
                self.stop();
                self.start().await;
                "restarted".into()
            }
            Op::BackUp => {
                self.stop();
                self.backup = Some(self.server.fork());
                self.start().await;
                "backed up".into()
            }
            Op::Restore => {
                self.stop();
                let backup = self.backup.take().expect("there is a backup");
                self.server.restore(backup);
                self.start().await;
                "restored".into()
            }
            _ => unreachable!("{op:?} asks"),
        }
    }

    async fn last_followed(&mut self) -> u64 {
        let info = self.request("INFO", Value::Null).await;
        let state = |name| info["state"][name].as_u64().unwrap_or(0);
        if state("messages") == 0 {
            return 0;
        }
        // Not by `last_by_subj`: 2.9 finds nothing by it where the last message of a subject was deleted.
        for seq in (state("first_seq")..=state("last_seq")).rev() {
            let answer = self.request("MSG.GET", json!({ "seq": seq })).await;
            let subject = answer.pointer("/message/subject").and_then(Value::as_str);
            if subject.is_some_and(|subject| subject.starts_with(PREFIX)) {
                return seq;
            }
        }
        0
    }

    async fn time(&mut self, seq: u64) -> Option<u64> {
        let answer = self.request("MSG.GET", json!({ "seq": seq })).await;
        let time = answer.pointer("/message/time")?.as_str()?;
        let time = async_nats::datetime::parse_rfc3339(time).ok()?;
        u64::try_from(time.unix_timestamp_nanos()).ok()
    }
}

/// A connection to a server that may only just have started.
async fn connect(server: &NatsServer) -> jetstream::Context {
    let client = async_nats::connect(server.url()).await;
    let context = jetstream::new(client.expect("the server answers"));
    for _ in 0..200 {
        let account = context.request::<_, _, Value>("INFO", &Value::Null);
        if account.await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    context
}
