//! How far long work is: a bar where a person looks on, a plain line every two seconds otherwise.
//! Must never print to standard output, nor wait. Invariant: work that ends within two seconds says nothing on a log.

use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::base::text::bytes_text;

/// Between two plain lines.
const PAUSE: Duration = Duration::from_secs(2);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Things of that name.
    Of(&'static str),
}

/// The progress of one piece of work.
pub struct Progress {
    what: &'static str,
    unit: Unit,
    bar: Option<ProgressBar>,
    told: Instant,
}

impl Progress {
    /// Begins to watch.
    pub fn start(what: &'static str, unit: Unit, interactive: bool) -> Self {
        let bar = interactive.then(|| {
            let bar = ProgressBar::no_length();
            bar.set_style(style(unit, false));
            bar.set_prefix(what);
            bar
        });
        Progress { what, unit, bar, told: Instant::now() }
    }

    /// Tells how far it is. What cannot be printed is no reason to end the work.
    pub fn at(&mut self, done: u64, total: Option<u64>, err: &mut dyn Write) {
        if let Some(bar) = &self.bar {
            if bar.length() != total
                && let Some(total) = total
            {
                bar.set_style(style(self.unit, true));
                bar.set_length(total);
            }
            bar.set_position(done);
        } else if self.told.elapsed() >= PAUSE {
            self.told = Instant::now();
            let _unprinted = writeln!(err, "{}", line(self.what, self.unit, done, total));
        }
    }

    /// Takes the bar away: the result is printed in its place.
    pub fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(unit: Unit, bounded: bool) -> ProgressStyle {
    let template = match (unit, bounded) {
        (Unit::Bytes, true) => "{prefix} [{bar:40}] {bytes} of {total_bytes}, {eta} left",
        (Unit::Bytes, false) => "{prefix} {spinner} {bytes}",
        (Unit::Of(_), true) => "{prefix} [{bar:40}] {pos} of {len}, {eta} left",
        (Unit::Of(_), false) => "{prefix} {spinner} {pos}",
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// `import: 1.5 MiB of 3.0 MiB (50 %)`.
fn line(what: &str, unit: Unit, done: u64, total: Option<u64>) -> String {
    let amount = |n: u64| if unit == Unit::Bytes { bytes_text(n) } else { n.to_string() };
    let name = if let Unit::Of(name) = unit { format!(" {name}") } else { String::new() };
    match total {
        Some(total) if total > 0 => {
            let percent = u128::from(done.min(total)) * 100 / u128::from(total);
            format!("{what}: {} of {}{name} ({percent} %)", amount(done), amount(total))
        }
        _ => format!("{what}: {}{name}", amount(done)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_tell_amount_and_share() {
        assert_eq!(line("import", Unit::Bytes, 1 << 20, Some(2 << 20)), "import: 1.0 MiB of 2.0 MiB (50 %)");
        assert_eq!(line("export", Unit::Of("rows"), 7, None), "export: 7 rows");
        assert_eq!(line("verify", Unit::Of("batches"), 7, Some(0)), "verify: 7 batches");
        assert_eq!(line("x", Unit::Of("rows"), 9, Some(3)), "x: 9 of 3 rows (100 %)");
    }

    #[test]
    fn short_work_says_nothing() {
        let mut progress = Progress::start("import", Unit::Bytes, false);
        let mut err = Vec::new();
        progress.at(1, Some(2), &mut err);
        progress.end();
        assert!(err.is_empty());
    }
}
