//! What a user agent tells: device, browser, system, and whether it is a robot and by which rule.
//! The only file that names woothee and regex-automata. Must never guess a person from it: no model numbers, no fingerprint.
//! Invariant: an [`Agent`] depends on the text alone, and a robot always carries the rule that matched.

use regex_automata::util::syntax;
use regex_automata::{Input, meta};
use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::base::text::cut;

/// One rule a line; its head says where the rules come from.
const ROBOTS: &str = include_str!("robots.txt");

/// Longer user agents are judged by their beginning: bytes.
const USER_AGENT_BYTES_MAX: usize = 1024;

/// Room for the robots automaton as it grows with what it meets: bytes. The default of 2 MiB is thrown away and rebuilt
/// again and again under a few thousand kinds of robots (35 us each instead of 0.3).
const AUTOMATON_BYTES_MAX: usize = 4 << 20;

/// The rule of a robot that names itself not at all.
pub const RULE_EMPTY: &str = "empty";

/// Kind of device, as the Journey API counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceCategory {
    /// A computer with a desktop browser; a kiosk is one too.
    Desktop,
    /// A phone.
    Mobile,
    /// A tablet.
    Tablet,
    /// Consoles, television sets, robots and everything not known.
    #[default]
    Other,
}

impl DeviceCategory {
    /// The word that is stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            DeviceCategory::Desktop => "desktop",
            DeviceCategory::Mobile => "mobile",
            DeviceCategory::Tablet => "tablet",
            DeviceCategory::Other => "other",
        }
    }

    /// The category of a word, in any case; errors: Invalid, `device_category`.
    pub fn parse(word: &str) -> Result<Self> {
        [Self::Desktop, Self::Mobile, Self::Tablet, Self::Other]
            .into_iter()
            .find(|category| category.as_str().eq_ignore_ascii_case(word))
            .ok_or_else(|| {
                Error::invalid(format!("unknown device category {:?}", cut(word, 40)))
                    .code("device_category")
                    .remedy("one of desktop, mobile, tablet, other")
            })
    }
}

/// What a user agent tells. Names are brands as people write them; `None` is "not known".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Agent {
    /// Kind of device.
    pub category: DeviceCategory,
    /// `computer`, `phone`, `feature phone`, `tablet`, `appliance`, `robot`, or `iPhone`, `iPad`, `iPod`.
    pub device_type: Option<String>,
    /// `Firefox`, `Internet Explorer`, ...
    pub browser_family: Option<String>,
    /// The browser's version as it writes it.
    pub browser_version: Option<String>,
    /// `Windows`, `Mac OS X`, `iOS`, `Android`, `Linux`, ...
    pub os_family: Option<String>,
    /// The system's version: `7` for Windows 7 (10 also stands for 11: browsers do not tell them apart), `4.1.2`, ...
    pub os_version: Option<String>,
    /// Maker of the device, where the text names it.
    pub manufacturer: Option<String>,
    /// The rule that says it is a robot; `None` for people.
    pub robot: Option<String>,
}

/// Reads user agents. Building compiles the rules (some milliseconds): build one and share it.
/// Reading takes 0.3 us for a robot of a known rule and 2 to 6 us for a browser, all but the same 0.3 of it in woothee, so a
/// cache above it is worth having. Of a robot nothing but the rule is told: what else it says is disguise.
#[derive(Debug)]
pub struct AgentParser {
    robots: meta::Regex,
    rules: Vec<&'static str>,
}

impl Default for AgentParser {
    fn default() -> Self {
        Self::new()
    }
}

impl AgentParser {
    /// Compiles the rules, once.
    pub fn new() -> Self {
        let rules: Vec<&'static str> =
            ROBOTS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        // Without Unicode classes, since the text is compared in ASCII lower case; without the literal prefilter, which
        // so many short rules make slower to build and no faster to run.
        let robots = meta::Regex::builder()
            .syntax(syntax::Config::new().unicode(false).utf8(false))
            .configure(meta::Config::new().auto_prefilter(false).hybrid_cache_capacity(AUTOMATON_BYTES_MAX))
            .build_many(&rules)
            .expect("invariant: every rule of robots.txt is a regular expression; a test compiles them");
        let parser = AgentParser { robots, rules };
        // woothee compiles its expressions when first used: here, not in the first visitor's request.
        parser.parse("Mozilla/5.0 (X11; Linux x86_64; rv:1.0) Gecko/20100101 Firefox/1.0");
        parser
    }

    /// Reads one user agent; any text is allowed.
    pub fn parse(&self, user_agent: &str) -> Agent {
        let text = cut(user_agent.trim(), USER_AGENT_BYTES_MAX);
        let robot = |rule: String| Agent { device_type: Some("robot".into()), robot: Some(rule), ..Agent::default() };
        if text.is_empty() || text == "-" {
            return robot(RULE_EMPTY.into());
        }
        if let Some(rule) = self.robot_rule(text) {
            return robot(rule.to_owned());
        }
        let read = woothee::parser::Parser::new().parse(text).unwrap_or_default();
        if read.category == "crawler" {
            return robot(format!("woothee: {}", read.name));
        }
        let (os_family, os_version) = system(read.os, &read.os_version);
        let category = category(text, read.category);
        Agent {
            category,
            device_type: device_type(text, read.category, category).map(str::to_owned),
            browser_family: known(read.name),
            browser_version: known(read.version),
            os_family,
            os_version,
            manufacturer: manufacturer(text, category).map(str::to_owned),
            robot: None,
        }
    }

    /// The rule whose match starts first.
    fn robot_rule(&self, text: &str) -> Option<&'static str> {
        let lower = text.to_ascii_lowercase();
        let found = self.robots.search_half(&Input::new(&lower))?;
        self.rules.get(found.pattern().as_usize()).copied()
    }
}

fn known(text: &str) -> Option<String> {
    (!text.is_empty() && text != "UNKNOWN").then(|| text.to_owned())
}

/// Family and version of the system, one family for all versions.
fn system(name: &str, version: &str) -> (Option<String>, Option<String>) {
    let family = |text: &str| Some(text.to_owned());
    match name {
        "" | "UNKNOWN" => (None, None),
        "iPhone" | "iPad" | "iPod" | "iOS" => (family("iOS"), known(version)),
        "Mac OSX" => (family("Mac OS X"), known(version)),
        "Windows Phone OS" => (family("Windows Phone"), known(version)),
        "Windows CE" => (family("Windows CE"), None),
        "Windows UNKNOWN Ver" => (family("Windows"), known(version)),
        _ => match name.strip_prefix("Windows ") {
            Some(release) => (family("Windows"), known(release)),
            None => (family(name), known(version)),
        },
    }
}

fn category(text: &str, woothee: &str) -> DeviceCategory {
    let has = |word: &str| text.contains(word);
    match woothee {
        "smartphone" | "mobilephone" | "pc" if is_tablet(text) => DeviceCategory::Tablet,
        "smartphone" if has("Android") && (has("BRAVIA") || has(" TV") || has("SmartTV") || has("CrKey")) => {
            DeviceCategory::Other
        }
        "smartphone" | "mobilephone" => DeviceCategory::Mobile,
        "pc" => DeviceCategory::Desktop,
        _ if has("Opera Mini") || has("MIDP") || has("MAUI") => DeviceCategory::Mobile,
        _ => DeviceCategory::Other,
    }
}

fn is_tablet(text: &str) -> bool {
    let has = |word: &str| text.contains(word);
    if has("iPad") || has("PlayBook") || has("Opera Tablet") || has("Kindle Fire") {
        return true;
    }
    // Browsers on Android leave "Mobile" out on tablets; programs that are no browsers leave it out everywhere.
    let android = text.starts_with("Mozilla/") && has("Android");
    (android || has("(Tablet;"))
        && !has("Mobi")
        && !has("Opera Mini")
        && !has(" TV")
        && !has("SmartTV")
        && !has("BRAVIA")
        && !has("CrKey")
}

fn device_type(text: &str, woothee: &str, category: DeviceCategory) -> Option<&'static str> {
    if let Some(apple) = ["iPad", "iPod", "iPhone"].into_iter().find(|name| text.contains(name)) {
        return Some(apple);
    }
    match (category, woothee) {
        (DeviceCategory::Tablet, _) => Some("tablet"),
        (DeviceCategory::Desktop, _) => Some("computer"),
        (DeviceCategory::Mobile, "smartphone") => Some("phone"),
        (DeviceCategory::Mobile, _) => Some("feature phone"),
        (DeviceCategory::Other, "appliance" | "smartphone") => Some("appliance"),
        (DeviceCategory::Other, _) => None,
    }
}

/// Words that name a maker; the first that occurs wins.
const MAKERS: [(&str, &str); 40] = [
    ("iPhone", "Apple"),
    ("iPad", "Apple"),
    ("iPod", "Apple"),
    ("Macintosh", "Apple"),
    ("Lumia", "Nokia"),
    ("Nokia", "Nokia"),
    ("NOKIA", "Nokia"),
    ("SAMSUNG", "Samsung"),
    ("Samsung", "Samsung"),
    (" SM-", "Samsung"),
    (" GT-", "Samsung"),
    (" SCH-", "Samsung"),
    (" SGH-", "Samsung"),
    ("BlackBerry", "BlackBerry"),
    ("BB10", "BlackBerry"),
    ("PlayBook", "BlackBerry"),
    ("HTC", "HTC"),
    ("LG-", "LG"),
    ("LGE", "LG"),
    ("HUAWEI", "Huawei"),
    ("Huawei", "Huawei"),
    ("HONOR", "Honor"),
    ("SonyEricsson", "Sony"),
    ("Xperia", "Sony"),
    ("Sony", "Sony"),
    ("PlayStation", "Sony"),
    ("PLAYSTATION", "Sony"),
    ("BRAVIA", "Sony"),
    ("Motorola", "Motorola"),
    ("moto ", "Motorola"),
    ("MOT-", "Motorola"),
    ("Redmi", "Xiaomi"),
    ("Xiaomi", "Xiaomi"),
    ("OnePlus", "OnePlus"),
    ("ONEPLUS", "OnePlus"),
    ("Pixel", "Google"),
    ("Kindle", "Amazon"),
    ("Nintendo", "Nintendo"),
    ("Xbox", "Microsoft"),
    ("Lenovo", "Lenovo"),
];

fn manufacturer(text: &str, category: DeviceCategory) -> Option<&'static str> {
    // On computers these words are names of browsers and add-ons; only Apple's says who made the machine.
    let makers = if category == DeviceCategory::Desktop { &MAKERS[3..4] } else { &MAKERS[..] };
    makers.iter().find(|(word, _)| text.contains(word)).map(|(_, maker)| *maker)
}

#[cfg(test)]
mod tests;
