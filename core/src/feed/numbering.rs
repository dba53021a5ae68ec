//! The number line: which channel a subject is, and each channel's last seq, from which `prev` comes.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::id::ChannelId;
use crate::mutant::{self, Mutant};
use crate::name::check_channel;
use crate::reason::LostReason;
use crate::record::codec::{Broken, Code, Reader, Writer, coded};

/// The channels of this server and where each stands on the current number line.
#[derive(Debug)]
pub(super) struct Line {
    strip: String,
    /// 0: no limit but that of the ids.
    channels_max: u32,
    ids: BTreeMap<Arc<str>, ChannelId>,
    channels: Vec<Channel>,
    head: u64,
}

#[derive(Debug)]
struct Channel {
    name: Arc<str>,
    /// Its last seq on the current number line; `None`: none was seen.
    last: Option<u64>,
}

impl Line {
    pub(super) fn new(strip: &str, channels_max: u32) -> Self {
        Self {
            strip: strip.into(),
            channels_max,
            ids: BTreeMap::new(),
            channels: Vec::new(),
            head: 0,
        }
    }

    /// The channel of a subject, which comes into being at its first message.
    pub(super) fn channel(&mut self, subject: &str) -> Result<ChannelId, LostReason> {
        let name = subject
            .strip_prefix(self.strip.as_str())
            .ok_or(LostReason::InvalidSubject)?;
        if let Some(id) = self.ids.get(name) {
            return Ok(*id);
        }
        if check_channel(name).is_err() {
            return Err(LostReason::InvalidSubject);
        }
        let index = u32::try_from(self.channels.len()).map_err(|_| LostReason::ChannelLimit)?;
        if self.channels_max != 0 && index >= self.channels_max {
            return Err(LostReason::ChannelLimit);
        }
        let name: Arc<str> = name.into();
        let id = ChannelId(index);
        self.ids.insert(Arc::clone(&name), id);
        self.channels.push(Channel { name, last: None });
        Ok(id)
    }

    /// Appends a seq to a channel: its name and the seq before it, if there was one.
    pub(super) fn append(&mut self, id: ChannelId, seq: u64) -> (Arc<str>, Option<u64>) {
        self.advance(seq);
        let channel = &mut self.channels[id.0 as usize];
        (Arc::clone(&channel.name), channel.last.replace(seq))
    }

    /// Whether the channel of a subject had a message on this number line.
    pub(super) fn has_value(&self, subject: &str) -> bool {
        let name = subject.strip_prefix(self.strip.as_str());
        let id = name.and_then(|name| self.ids.get(name));
        id.is_some_and(|id| self.channels[id.0 as usize].last.is_some())
    }

    /// The head moves to `seq`, if that is further.
    pub(super) fn advance(&mut self, seq: u64) {
        self.head = self.head.max(seq);
    }

    /// The number line begins anew. The channels keep their ids, which are never given again.
    pub(super) fn restart(&mut self) {
        self.head = 0;
        for channel in &mut self.channels {
            if !mutant::is(Mutant::PrevAcrossEpochs) {
                channel.last = None;
            }
        }
    }

    /// The highest seq known.
    pub(super) fn head(&self) -> u64 {
        self.head
    }

    /// Channels known.
    pub(super) fn channels(&self) -> u64 {
        self.channels.len() as u64
    }
}

coded!(Channel { name, last });

impl Code for Line {
    fn put(&self, out: &mut Writer) {
        let Self {
            strip,
            channels_max,
            ids: _,
            channels,
            head,
        } = self;
        strip.put(out);
        channels_max.put(out);
        channels.put(out);
        head.put(out);
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        let (strip, channels_max) = Code::get(from)?;
        let channels: Vec<Channel> = Code::get(from)?;
        let mut ids = BTreeMap::new();
        for (index, channel) in channels.iter().enumerate() {
            let id = u32::try_from(index).map_err(|_| Broken("too many channels"))?;
            ids.insert(Arc::clone(&channel.name), ChannelId(id));
        }
        Ok(Self {
            strip,
            channels_max,
            ids,
            channels,
            head: Code::get(from)?,
        })
    }
}
