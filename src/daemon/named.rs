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
