//! Page views as a shop's pages send them, 600 to 700 bytes of JSON. Owns the words and the ids; must never know HTTP.
//! Invariant: every event has an id of its own, so each is stored once.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Which UUIDs events and visitors are named by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// By time: neighbours in time are neighbours in an index.
    V7,
    /// Random.
    V4,
}

/// Events of one browser after the other.
pub struct Maker {
    random: Random,
    ids: Ids,
    per_visitor: u32,
    /// A visitor's first event brings a grant of every purpose along.
    grants: bool,
    left: u32,
    visitor: [u8; 16],
    agent: usize,
    page: usize,
}

impl Maker {
    /// `seed` must differ between makers, `per_visitor` is how many events a visitor sends; `grants` = the first of them brings a
    /// grant of every purpose along.
    pub fn new(seed: u64, ids: Ids, per_visitor: u32, grants: bool) -> Self {
        Maker { random: Random(seed | 1), ids, per_visitor, grants, left: 0, visitor: [0; 16], agent: 0, page: 0 }
    }

    /// A body of `count` events: one object, or an array.
    pub fn body(&mut self, out: &mut String, batch: bool, count: usize) {
        if batch {
            out.push('[');
        }
        for i in 0..count {
            if i > 0 {
                out.push(',');
            }
            self.event(out);
        }
        if batch {
            out.push(']');
        }
    }

    fn event(&mut self, out: &mut String) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        let first = self.left == 0;
        if first {
            self.left = self.per_visitor;
            self.visitor = self.id(now);
            self.agent = self.random.below(AGENTS.len() * VERSIONS.len());
        }
        self.left -= 1;
        let before = self.page;
        self.page = self.random.below(4_000);
        let (name, number) = product(self.page);
        let event_id = self.id(now);
        out.push_str("{\"name\":\"page_viewed\",\"eventId\":\"");
        uuid(out, &event_id);
        out.push_str("\",\"visitor\":\"");
        uuid(out, &self.visitor);
        let _ = write!(out, "\",\"time\":{now},\"url\":\"https://shop.example/catalogue/{}/{number}", path(name));
        let _ = write!(out, "?sort=price&page={}&view=grid&stock=now", self.page % 9 + 1);
        if first && self.page.is_multiple_of(4) {
            out.push_str("&utm_source=newsletter&utm_medium=email&utm_campaign=autumn");
        }
        let _ = write!(out, "\",\"title\":\"{name} no. {number} - garden and home - Example Shop\",\"referrer\":\"");
        match (first, self.page % 3) {
            (true, 0) => {}
            (true, 1) => out.push_str("https://www.google.com/"),
            (true, _) => out.push_str("https://duckduckgo.com/"),
            (false, _) => {
                let (name, number) = product(before);
                let _ = write!(out, "https://shop.example/catalogue/{}/{number}?sort=price&view=grid", path(name));
            }
        }
        let (agent, version) = (AGENTS[self.agent % AGENTS.len()], VERSIONS[self.agent / AGENTS.len()]);
        let _ = write!(out, "\",\"userAgent\":\"{}{version}{}\",\"attributes\":{{", agent.0, agent.1);
        let _ = write!(out, "\"price\":{}.95,\"department\":\"garden\",\"inStock\":true}}", self.page % 400 + 5);
        if first && self.grants {
            out.push_str(GRANT);
        }
        out.push('}');
    }

    fn id(&mut self, now: u64) -> [u8; 16] {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.random.next().to_be_bytes());
        id[8..].copy_from_slice(&self.random.next().to_be_bytes());
        let version = match self.ids {
            Ids::V4 => 0x40,
            Ids::V7 => {
                id[..6].copy_from_slice(&now.to_be_bytes()[2..]);
                0x70
            }
        };
        id[6] = id[6] & 0x0f | version;
        id[8] = id[8] & 0x3f | 0x80;
        id
    }
}

/// The decision of a banner where everything was accepted.
const GRANT: &str = ",\"decision\":{\"action\":\"give\",\"method\":\"banner_accept\",\"language\":\"en\",\"purposes\":[\"measure\",\
    \"personal\",\"profile\",\"engage_support\",\"share\",\"marketing\",\"engage_sales\"]}";

fn uuid(out: &mut String, id: &[u8; 16]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for (i, byte) in id.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        out.push(char::from(HEX[usize::from(byte >> 4)]));
        out.push(char::from(HEX[usize::from(byte & 15)]));
    }
}

fn product(page: usize) -> (&'static str, usize) {
    (PRODUCTS[page % PRODUCTS.len()], 1_000 + page)
}

fn path(name: &str) -> String {
    name.to_lowercase().replace(' ', "-")
}

const PRODUCTS: [&str; 12] = [
    "Oak garden table",
    "Folding chair",
    "Copper watering can",
    "Terracotta pot large",
    "Wool blanket grey",
    "Linen cushion",
    "Solar lantern",
    "Herb planter",
    "Bird feeder",
    "Teak bench",
    "Parasol three metres",
    "Hammock with frame",
];

/// What browsers call themselves, before and after the version: with [`VERSIONS`] 54 user agents.
const AGENTS: [(&str, &str); 9] = [
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/",
        ".0.0.0 Safari/537.36",
    ),
    (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/",
        ".0.0.0 Safari/537.36",
    ),
    ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/", ".0.0.0 Safari/537.36"),
    (
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/",
        ".0.0.0 Mobile Safari/537.36",
    ),
    ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/", ".0"),
    ("Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/", ".0"),
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Mobile/15E",
        " Safari/604.1",
    ),
    (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Safari/605.1.",
        "",
    ),
    ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36 Edg/", ".0.0.0"),
];
const VERSIONS: [&str; 6] = ["124", "125", "126", "127", "128", "129"];

/// xorshift64*: quick, and the same for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }
}
