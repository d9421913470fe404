//! `wayside pull`: takes batches from another wayside, verifies and keeps them, and acknowledges what is safe here.
//! Must never decide what verifies (`forward/take`). Invariant: with `--then` only what the command finished is acknowledged.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::TryRecvError;

use serde_json::json;

use crate::base::error::{Error, Result};
use crate::base::text::unhex;
use crate::cli::Context;
use crate::cli::progress::{Progress, Unit};
use crate::domain::event::Lane;
use crate::forward::client::{Client, ClientOptions};
use crate::forward::take::elsewhere::Elsewhere;
use crate::forward::take::joined::Joined;
use crate::forward::take::shelf::{Folder, Shelf};
use crate::forward::take::{Job, JobOptions, Round};

/// Exit code: there is more to take.
const MORE: u8 = 10;
/// Exit code: a batch does not verify; it lies in `bad/`.
const BAD: u8 = 65;
/// Seconds of one long question while waiting: short, so that ending is prompt.
const WAIT_SECONDS: u32 = 10;

const AFTER: &str = "Example:
  wayside pull --from https://shop7.example:8787 --token-file token --to /srv/batches
  wayside pull --from https://shop7.example:8787 --token-file token --to /srv/batches --join day --then './load.sh {files}'

Exit codes: 0 all taken, 10 more waits, 65 a batch does not verify and lies in bad/, 75 try again later.";

/// Flags that name the other side; of `pull` and `ack`.
#[derive(Debug, clap::Args)]
pub struct From {
    /// The other wayside, for example `https://shop7.example:8787`.
    #[arg(long, value_name = "URL")]
    from: String,
    /// Its cursor (a target with kind = "pull"); may be left out where it has only one.
    #[arg(long, value_name = "NAME")]
    cursor: Option<String>,
    /// File that holds a token of the scope `sync`.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// PEM file of the authority that signed its certificate; without it those this system trusts.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// Flags of `pull`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    #[command(flatten)]
    from: From,
    /// The folder where batches are kept, or another receiver's address.
    #[arg(long, value_name = "DIR|URL")]
    to: String,
    /// Where the job remembers how far it is; without it the folder .pull in DIR.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// With a receiver: file that holds the token for it.
    #[arg(long, value_name = "FILE")]
    to_token_file: Option<PathBuf>,
    /// Only this lane, and consent: consent, visits, pages or fine.
    #[arg(long, value_name = "LANE", value_parser = lane)]
    lane: Option<String>,
    /// Only batches of this edge.
    #[arg(long, value_name = "HEX")]
    edge: Option<String>,
    /// The only public key that may have signed; without it the first of each edge and epoch is remembered.
    #[arg(long, value_name = "HEX", value_parser = key)]
    key: Option<String>,
    /// Take at most --limit batches, then end.
    #[arg(long, conflicts_with = "wait")]
    once: bool,
    /// Go on waiting for batches until told to end.
    #[arg(long)]
    wait: bool,
    /// Batches taken and acknowledged together.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
    /// Put the batches of an edge, lane and day into one file.
    #[arg(long, value_name = "day", value_parser = ["day"])]
    join: Option<String>,
    /// Run this with the files in the place of {files}; only what it ends well with is acknowledged.
    #[arg(long, value_name = "CMD")]
    then: Option<String>,
    /// Acknowledge nothing: `wayside ack` does, later.
    #[arg(long, conflicts_with = "then")]
    no_ack: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn lane(word: &str) -> Result<String, String> {
    Lane::parse(word).map(|lane| lane.word().to_owned()).ok_or_else(|| "use consent, visits, pages or fine".to_owned())
}

fn key(text: &str) -> Result<String, String> {
    unhex::<32>(text)
        .map(|_| text.to_owned())
        .map_err(|_| "write the 64 hex digits of public_key in edge.json".to_owned())
}

fn is_address(to: &str) -> bool {
    to.starts_with("http://") || to.starts_with("https://")
}

impl From {
    /// The cursor.
    pub(in crate::cli) fn cursor(&self) -> Option<String> {
        self.cursor.clone()
    }

    /// A client of the other side, whose answers may be held back for `wait_s` seconds. Errors: `Config`.
    pub(in crate::cli) fn client(&self, wait_s: u32) -> Result<Client> {
        let options = ClientOptions {
            ca_file: self.ca.clone(),
            token_file: self.token_file.clone(),
            answer_ms: u64::from(wait_s + 30) * 1_000,
            ..ClientOptions::default()
        };
        Client::open(&self.from, &options)
    }
}

/// What a job calls itself: this program on this machine, in this folder. The same before the folder is made as after it: a
/// job that was killed in its first round takes up its own lease.
pub(in crate::cli) fn holder(own: &Path) -> String {
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let full = std::path::absolute(own).unwrap_or_else(|_| own.to_owned()).display().to_string();
    let text = format!("wayside pull {}:{full}", host.trim());
    let clean: String = text.chars().filter(|c| !c.is_control()).collect();
    let from = clean.len().saturating_sub(128);
    let start = (from..=clean.len()).find(|at| clean.is_char_boundary(*at)).unwrap_or(0);
    clean[start..].to_owned()
}

/// Takes what there is.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    let mut job = open(args)?;
    let template = args.then.as_deref().map(Template::of).transpose()?;
    let mut progress = Progress::start("pull", Unit::Of("batches"), context.interactive);
    let (mut sum, mut ended) = (Round::default(), false);
    let mut then = |files: &[PathBuf]| template.as_ref().map_or(Ok(()), |template| template.run(files));
    let made = loop {
        let before = sum.taken + sum.known;
        let wait_s = if args.wait { WAIT_SECONDS } else { 0 };
        let err = &mut context.output.err;
        let mut told = |done: u64, all: u64| progress.at(before + done, Some(before + all), &mut **err);
        match job.round(wait_s, &mut then, &mut told) {
            Ok(round) => {
                add(&mut sum, round);
                ended = context.stop.try_recv() != Err(TryRecvError::Empty);
                if args.once || ended || (!args.wait && !sum.more) {
                    break Ok(());
                }
            }
            Err(error) => break Err(error),
        }
    };
    progress.end();
    if let Err(error) = job.end() {
        log::warn!("giving the lease back: {error}");
    }
    report(args, context, &sum)?;
    made?;
    Ok(match (sum.bad.is_empty(), sum.more && (args.once || ended)) {
        (false, _) => BAD,
        (true, true) => MORE,
        (true, false) => 0,
    })
}

fn open(args: &Args) -> Result<Job> {
    let client = args.from.client(if args.wait { WAIT_SECONDS } else { 0 })?;
    let folder = PathBuf::from(&args.to);
    let own = match (&args.state, is_address(&args.to)) {
        (Some(own), _) => own.clone(),
        (None, false) => folder.join(".pull"),
        (None, true) => {
            return Err(
                Error::invalid("--state is missing").remedy("name a folder where the job remembers how far it is")
            );
        }
    };
    let shelf: Box<dyn Shelf> = if is_address(&args.to) {
        if args.then.is_some() || args.join.is_some() {
            return Err(Error::invalid("--then and --join need files").remedy("name a folder with --to"));
        }
        let options = ClientOptions {
            ca_file: args.from.ca.clone(),
            token_file: args.to_token_file.clone(),
            ..ClientOptions::default()
        };
        Box::new(Elsewhere::at(Client::open(&args.to, &options)?, &own))
    } else if args.join.is_some() {
        Box::new(Joined::at(&folder))
    } else {
        Box::new(Folder::at(&folder))
    };
    let options = JobOptions {
        cursor: args.from.cursor(),
        lane: args.lane.clone(),
        edge: args.edge.clone(),
        limit: args.limit,
        key: args.key.as_deref().map(unhex::<32>).transpose()?,
        no_ack: args.no_ack,
        holder: holder(&own),
    };
    Job::open(client, options, shelf, &own)
}

fn add(sum: &mut Round, round: Round) {
    sum.taken += round.taken;
    sum.bytes += round.bytes;
    sum.acknowledged += round.acknowledged;
    sum.known += round.known;
    sum.gone.extend(round.gone);
    sum.bad.extend(round.bad);
    sum.more = round.more;
}

fn report(args: &Args, context: &mut Context, sum: &Round) -> Result<()> {
    if args.json {
        let bad: Vec<_> = sum.bad.iter().map(|(key, why)| json!({"batch": key, "what": why})).collect();
        return context.output.json(&json!({
            "taken": sum.taken, "bytes": sum.bytes, "acknowledged": sum.acknowledged, "known": sum.known,
            "gone": sum.gone, "bad": bad, "more": sum.more,
        }));
    }
    for (key, why) in &sum.bad {
        context.output.line(&format!("{key}: {why}"))?;
    }
    let gone = if sum.gone.is_empty() { String::new() } else { format!(", {} gone there", sum.gone.len()) };
    let bad = if sum.bad.is_empty() { String::new() } else { format!(", {} bad", sum.bad.len()) };
    context.output.line(&format!("{} batches taken, {} acknowledged{gone}{bad}", sum.taken, sum.acknowledged))
}

/// A command with a place for files.
struct Template(String);

impl Template {
    fn of(text: &str) -> Result<Template> {
        if text.contains("{files}") {
            return Ok(Template(text.to_owned()));
        }
        Err(Error::invalid("--then has no {files}")
            .remedy("write {files} where the file names belong: --then './load.sh {files}'"))
    }

    fn command(&self, files: &[PathBuf]) -> String {
        let quoted = |path: &PathBuf| format!("'{}'", path.display().to_string().replace('\'', "'\\''"));
        self.0.replace("{files}", &files.iter().map(quoted).collect::<Vec<_>>().join(" "))
    }

    fn run(&self, files: &[PathBuf]) -> Result<()> {
        let again = "what it was given is not acknowledged and comes again";
        let mut command = Command::new("sh");
        let ended = command.arg("-c").arg(self.command(files)).stdin(Stdio::null()).status();
        let ended =
            ended.map_err(|e| Error::busy(format!("the command of --then cannot be run: {e}")).remedy(again))?;
        if ended.success() {
            return Ok(());
        }
        Err(Error::busy(format!("the command of --then ended with {ended}")).code("then_failed").remedy(again))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_reach_the_command_whole() {
        let template = Template::of("cat {files} > all").unwrap();
        let files = [PathBuf::from("/a/b c.gz"), PathBuf::from("/it's.gz")];
        assert_eq!(template.command(&files), "cat '/a/b c.gz' '/it'\\''s.gz' > all");
        assert!(Template::of("cat").is_err());
        let absent = Template::of("cat {files} > /dev/null").unwrap();
        assert!(absent.run(&[PathBuf::from("/nowhere")]).is_err());
    }

    #[test]
    fn a_holder_names_itself_in_128_bytes() {
        let long = holder(Path::new(&format!("/{}/é", "x".repeat(300))));
        assert!(long.len() <= 128 && long.ends_with("/é"), "{long}");
    }

    #[test]
    fn a_holder_has_one_name_whether_its_folder_is_there_yet_or_not() {
        // a killed job would wait for its own lease, and two jobs in folders of the same name would be one
        let here = std::env::current_dir().unwrap();
        assert_eq!(holder(Path::new("not-there-yet")), holder(&here.join("not-there-yet")));
        assert_eq!(holder(Path::new("src")), holder(&here.join("src")));
    }
}
