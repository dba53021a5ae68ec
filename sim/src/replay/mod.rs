//! `odin-sim replay`: runs a recording of the flight recorder again and answers questions about it.
//!
//! Whatever is asked, every machine is run from its first checkpoint to its end, and its state must be
//! the recorded one at each checkpoint and at the end. What is shown on the way is up to a [`Question`].

mod channel;
mod life;
mod moment;

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use odin_core::feed::Feed;
use odin_core::gate::Gate;
use odin_core::id::ConnId;
use odin_core::reason::CloseReason;
use odin_core::record::{File, Machine, Player, Recorded, Recording};
use odin_core::shard::{Call, Given, Shard};
use odin_core::time::Instant;

use crate::commands::options::Options;
use life::Life;

/// Closed connections that are named without being asked for.
const CLOSED_SHOWN: usize = 20;

/// What is asked of a recording.
#[derive(Clone, PartialEq, Debug)]
pub enum Question {
    /// What it covers, and who was closed.
    Summary,
    /// The life of one client.
    Client(Client),
    /// How things stood at a moment.
    At(Instant),
    /// What happened to a channel.
    Channel(String),
}

/// How a client is named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Client {
    /// By the `session` of its welcome, if it was opened while the recording ran.
    Session(String),
    /// By its place on a shard, as the summary shows it; without a shard, on any.
    Place(Option<u32>, ConnId),
}

impl Client {
    /// Reads `SESSION`, `INDEX.GENERATION` or `SHARD/INDEX.GENERATION`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let (shard, place) = match text.split_once('/') {
            Some((shard, place)) => (shard.parse().ok(), place),
            None => (None, text),
        };
        match place.parse() {
            Ok(conn) => Self::Place(shard, conn),
            Err(()) => Self::Session(text.to_owned()),
        }
    }
}

/// `odin-sim replay`.
///
/// # Errors
/// Options that are none, a file that is no recording, or a state that is not reached again.
pub fn command(words: &[String]) -> Result<(), String> {
    let options = Options::read(words, &["client", "at", "channel"], &[])?;
    let path = options.only()?;
    let mut questions = Vec::new();
    questions.extend(
        options
            .value("client")
            .map(|text| Question::Client(Client::parse(text))),
    );
    if let Some(text) = options.value("at") {
        questions.push(Question::At(moment::parse(text)?));
    }
    questions.extend(
        options
            .value("channel")
            .map(|name| Question::Channel(name.to_owned())),
    );
    let question = match questions.as_slice() {
        [] => Question::Summary,
        [question] => question.clone(),
        _ => return Err("ask one thing at a time".into()),
    };
    let bytes = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let file = File::parse(&bytes).map_err(|error| format!("{path}: {error}"))?;
    print!("{}", answer(&file, &question)?);
    Ok(())
}

/// Runs every machine of a recording again and answers.
///
/// # Errors
/// A machine cannot be restored, or does not come to the recorded state.
pub fn answer(file: &File, question: &Question) -> Result<String, String> {
    let header = &file.header;
    let mut out = format!(
        "odin-ws {}, {}; started at {}, written {:.3} s later\n",
        header.version,
        header.cause,
        moment::utc(header.started_unix_ms),
        moment::seconds(Instant::from_millis(
            header
                .written_unix_ms
                .saturating_sub(header.started_unix_ms)
        )),
    );
    let mut found = false;
    for recording in &file.recordings {
        if recording.segments.is_empty() {
            let _ = writeln!(
                out,
                "\n{}: not recorded, its state was too large",
                recording.machine
            );
            continue;
        }
        let replayed = match recording.machine {
            Machine::Feed => replay(recording, &mut moment::Watch::<Feed>::new(question)),
            Machine::Gate => replay(recording, &mut moment::Watch::<Gate>::new(question)),
            Machine::Shard(index) => {
                let mut watch = ShardWatch::new(index, question);
                let replayed = replay(recording, &mut watch);
                found |= watch.life.is_found();
                replayed
            }
        }?;
        out.push_str(&replayed);
    }
    if matches!(question, Question::Client(_)) && !found {
        return Err("no such client lived while this was recorded".into());
    }
    Ok(out)
}

/// Looks on while a machine is run again.
trait Watch<M: Recorded> {
    /// Before a call is made.
    fn before(&mut self, machine: &M, now: Instant, call: &M::Call);

    /// After it was made.
    fn after(&mut self, machine: &M, now: Instant, call: &M::Call, given: &M::Given);

    /// What there is to say at the end.
    fn finish(&mut self, machine: &M) -> String;
}

/// What a run came to.
#[derive(Default)]
struct Run {
    calls: u64,
    first: Option<Instant>,
    last: Instant,
}

fn replay<M: Recorded>(recording: &Recording, watch: &mut impl Watch<M>) -> Result<String, String> {
    let machine = recording.machine;
    let mut run = Run::default();
    let whole = catch_unwind(AssertUnwindSafe(|| {
        let mut player: Player<'_, M> = Player::new(recording)?;
        while let Some((now, call)) = player.next()? {
            run.calls += 1;
            run.first.get_or_insert(now);
            run.last = now;
            watch.before(&player.machine, now, &call);
            let given = player.apply(now, &call);
            watch.after(&player.machine, now, &call, &given);
        }
        Ok::<_, odin_core::record::Broken>(player.machine)
    }));
    let (end, said) = match whole {
        Ok(Ok(machine)) => {
            let end = match recording.hash {
                Some(hash) => format!("state {hash:016x} reached"),
                None => "the state at the end was not recorded".to_owned(),
            };
            (end, watch.finish(&machine))
        }
        Ok(Err(error)) => {
            let at = moment::seconds(run.last);
            return Err(format!(
                "{machine}: at {at:.6} s, call {}: {error}",
                run.calls
            ));
        }
        // The answer to what happened is what was on the screen: the panic's own message.
        Err(_) if recording.hash.is_none() => (
            format!("it panics at call {}, as it did", run.calls),
            String::new(),
        ),
        Err(_) => return Err(format!("{machine}: it panics at call {}", run.calls)),
    };
    Ok(format!(
        "\n{machine}: {} calls from {:.3} s to {:.3} s; {end}\n{said}",
        run.calls,
        moment::seconds(run.first.unwrap_or_default()),
        moment::seconds(run.last),
    ))
}

/// Looks on at a shard.
struct ShardWatch<'a> {
    question: &'a Question,
    life: Life<'a>,
    channel: channel::Story<'a>,
    moment: moment::Watch<'a, Shard>,
    closed: Vec<(Instant, ConnId, CloseReason)>,
}

impl<'a> ShardWatch<'a> {
    fn new(index: u32, question: &'a Question) -> Self {
        Self {
            question,
            life: Life::new(index, question),
            channel: channel::Story::new(question),
            moment: moment::Watch::new(question),
            closed: Vec::new(),
        }
    }

    fn summary(&self, shard: &Shard) -> String {
        let mut out = moment::shard(shard, None);
        let _ = writeln!(out, "  {} connections were closed", self.closed.len());
        for (at, conn, reason) in self.closed.iter().take(CLOSED_SHOWN) {
            let at = moment::seconds(*at);
            let _ = writeln!(out, "    {at:>12.6} s  {conn}  {}", reason.label());
        }
        if self.closed.len() > CLOSED_SHOWN {
            let _ = writeln!(out, "    ... and more");
        }
        out
    }
}

impl Watch<Shard> for ShardWatch<'_> {
    fn before(&mut self, shard: &Shard, now: Instant, call: &Call) {
        self.life.before(shard);
        self.moment.before(shard, now, call);
        if let Call::Closed(conn, reason) = call
            && let Some(inspection) = shard.inspect(*conn)
        {
            let reason = inspection.closing.unwrap_or(*reason);
            self.closed.push((now, *conn, reason));
        }
    }

    fn after(&mut self, shard: &Shard, now: Instant, call: &Call, given: &Given) {
        self.life.after(shard, now, call, given);
        self.channel.after(now, call);
        self.moment.after(shard, now, call, given);
    }

    fn finish(&mut self, shard: &Shard) -> String {
        match self.question {
            Question::Summary => self.summary(shard),
            Question::Client(_) => self.life.finish(shard),
            Question::At(_) => self.moment.finish(shard),
            Question::Channel(name) => self.channel.finish(shard.inspect_channel(name)),
        }
    }
}
