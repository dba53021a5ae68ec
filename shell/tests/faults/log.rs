//! What one client was told over its whole life, over all its connections, in order.

use std::collections::BTreeMap;

use serde_json::Value;

/// One thing that a client was told.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Told {
    /// A new connection was acked: the number line, the position of each name, and the names that were not
    /// recovered.
    Acked {
        epoch: Option<String>,
        positions: BTreeMap<String, Option<u64>>,
        recovered: Vec<String>,
    },
    /// A message: channel, seq, prev, and what was published.
    Message {
        channel: String,
        seq: u64,
        prev: Option<u64>,
        data: Value,
    },
    /// A `lost`.
    Lost {
        name: Option<String>,
        from: u64,
        to: Option<u64>,
    },
    /// A `reset` with the new number line.
    Reset(String),
}

impl Told {
    /// Reads a message of the server; `None`: it says nothing about what is missing.
    pub(crate) fn read(value: &mut Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Some(match value["type"].as_str()? {
            "subscription_ack" => {
                let positions = value["positions"].as_object()?;
                // Without a resume nothing is recovered.
                let names = value["recovered"].as_array();
                Self::Acked {
                    epoch: text(&value["epoch"]),
                    positions: positions
                        .iter()
                        .map(|(name, position)| (name.clone(), position.as_u64()))
                        .collect(),
                    recovered: names.into_iter().flatten().filter_map(text).collect(),
                }
            }
            "message" => Self::Message {
                channel: text(&value["channel"])?,
                seq: value["seq"].as_u64()?,
                prev: value["prev"].as_u64(),
                data: value["data"].take(),
            },
            "lost" => Self::Lost {
                name: text(&value["channel"]),
                from: value["from"].as_u64()?,
                to: value["to"].as_u64(),
            },
            "reset" => Self::Reset(text(&value["epoch"])?),
            _ => return None,
        })
    }
}
