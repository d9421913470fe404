//! Recipients against published notices: who gets rows on somebody's behalf, or for purposes of its own, is named in the
//! notice in force (contract 5). Must never change anything. Invariant: before a first notice it is a doubt, after it a fault.

use crate::base::error::Result;
use crate::base::time::{Clock, SystemClock};
use crate::config::{Config, Loaded, Problem, Severity};
use crate::daemon::facts::role;
use crate::domain::notice::Role;
use crate::history::History;
use crate::history::notices::NoticeView;

/// What the configuration said of recipients without looking at notices, said anew with them. Where no database is yet,
/// or it cannot be read, it stays as it was said.
pub fn look(loaded: &mut Loaded) {
    let config = &loaded.config;
    let Ok(notices) = in_force(config) else { return };
    if notices.is_empty() {
        return;
    }
    let mut problems = std::mem::take(&mut loaded.problems);
    for (n, target) in config.targets.iter().enumerate() {
        let key = format!("target[{n}].recipient");
        let (Some(role), Some(name)) = (role(target), target.recipient_name.as_deref()) else { continue };
        let Some(at) = problems.iter().position(|p| p.key == key && p.severity == Severity::Warning) else { continue };
        match judge(config, &notices, name, role) {
            Told::Everywhere => drop(problems.remove(at)),
            Told::Unknown => {}
            Told::Not(notice) => {
                let line = problems[at].line;
                problems[at] = Problem { severity: Severity::Error, line, key, ..unnamed(name, role, &notice) };
            }
        }
    }
    loaded.problems = problems;
}

fn unnamed(name: &str, role: Role, notice: &NoticeView) -> Problem {
    Problem {
        severity: Severity::Error,
        line: None,
        key: String::new(),
        what: format!(
            "rows of site {:?} leave to the {} {name:?}, whom its notice {:?} does not name",
            notice.site,
            role.word(),
            notice.version
        ),
        remedy: "publish a notice that names this recipient (wayside notice new, check, publish), or remove the target"
            .to_owned(),
    }
}

fn in_force(config: &Config) -> Result<Vec<NoticeView>> {
    let all = History::open(&config.data_dir)?.notices(None, None, SystemClock.now())?;
    Ok(all.into_iter().filter(|view| view.in_force).collect())
}

enum Told {
    /// Each site's notice names the recipient.
    Everywhere,
    /// A site has no notice yet, or another tool's, whose text is not here.
    Unknown,
    /// This one does not.
    Not(Box<NoticeView>),
}

fn judge(config: &Config, notices: &[NoticeView], name: &str, role: Role) -> Told {
    let mut out = Told::Everywhere;
    for site in &config.sites {
        let own: Vec<&NoticeView> = notices.iter().filter(|view| view.site == site.id).collect();
        let silent = own.iter().find(|view| view.notice.as_ref().is_some_and(|notice| !notice.names(name, role)));
        if let Some(silent) = silent {
            return Told::Not(Box::new((*silent).clone()));
        }
        if own.is_empty() || own.iter().any(|view| view.notice.is_none()) {
            out = Told::Unknown;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;
    use crate::config::Flags;
    use crate::daemon::desk::Here;

    const CONFIG: &str = "[controller]\nname = \"Example Ltd\"\nemail = \"privacy@shop.example\"\nauthority = \"Authority\"\n\
                          privacy_url = \"https://shop.example/privacy\"\n\n[[site]]\nid = \"default\"\n\n[[target]]\n\
                          name = \"outbox\"\nrecipient = \"processor\"\nrecipient_name = \"Example Analytics\"\n";

    /// What the configuration says of recipients, with the notices of this directory.
    fn problems(dir: &Path) -> Vec<(Severity, String, Option<usize>)> {
        let file = dir.join("wayside.toml");
        std::fs::write(&file, CONFIG).unwrap();
        let flags = Flags { data_dir: Some(dir.join("data")), ..Flags::default() };
        let mut loaded = Config::load(Some(&file), &|_| None, &flags).unwrap();
        look(&mut loaded);
        let of = loaded.problems.into_iter().filter(|p| p.key.starts_with("target"));
        of.map(|p| (p.severity, p.what, p.line)).collect()
    }

    fn ask(dir: &Path, target: &str, body: &Value) {
        let config = Config { data_dir: dir.join("data"), ..Config::default() };
        let here = Here::open(&config).unwrap();
        let json = [("content-type", "application/json")];
        let reply = here.serve("POST", target, &json, body.to_string().into_bytes()).unwrap();
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        here.close().unwrap();
    }

    fn publish(dir: &Path, version: &str, recipients: &Value) {
        let wording = json!({
            "title": "Your choices", "text": "Example Ltd would like to record how this site is used.",
            "withdrawal": "You can take it back at any time in the privacy settings.", "retention": "Visits stay 13 months.",
            "rights": "You may ask for a copy, correction or erasure.", "complaint": "You may complain to the Authority.",
            "purposes": {"measure": {"title": "Measure", "text": "We record which pages are opened."}},
        });
        let controller = json!({"name": "Example Ltd", "email": "privacy@shop.example", "authority": "Authority",
                                "privacy_url": "https://shop.example/privacy"});
        let draft = json!({"version": version, "site": "default", "controller": controller, "recipient": recipients,
                           "purpose": [{"name": "measure"}], "language": {"en": wording}});
        ask(dir, "/v1/notices", &json!({"draft": draft}));
    }

    #[test]
    fn a_recipient_is_named_in_the_notice_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let doubts = |found: &[(Severity, String, Option<usize>)]| found.iter().map(|p| p.0).collect::<Vec<_>>();
        assert_eq!(doubts(&problems(dir.path())), [Severity::Warning], "there is no database yet");
        let wanted = json!([{"name": "Example Analytics", "role": "processor"}]);
        publish(dir.path(), "1", &wanted);
        assert_eq!(problems(dir.path()), [], "it is named");
        publish(dir.path(), "2", &json!([{"name": "Example Analytics", "role": "third_party"}]));
        let found = problems(dir.path());
        assert_eq!(doubts(&found), [Severity::Error], "in another role: {found:?}");
        assert!(found[0].1.contains("whom its notice \"2\" does not name") && found[0].2.is_some(), "{found:?}");
        publish(dir.path(), "3", &json!([{"name": "Somebody Else", "role": "processor"}]));
        assert_eq!(doubts(&problems(dir.path())), [Severity::Error], "somebody else is");
        publish(dir.path(), "4", &wanted);
        assert_eq!(problems(dir.path()), [], "the newest counts");
        let external = json!({"notice": {"name": "Tool", "version": "5", "url": "https://shop.example/privacy"},
                              "digest": "ab".repeat(32)});
        ask(dir.path(), "/v1/notices/external", &external);
        assert_eq!(doubts(&problems(dir.path())), [Severity::Warning], "another tool's text is not here");
    }
}
