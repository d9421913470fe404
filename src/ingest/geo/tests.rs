//! Claims about look-ups, on databases written here byte by byte (MaxMind DB file format 2.0).

use super::*;

/// A value of the format; only the types the tests need.
enum Value<'a> {
    Text(&'a str),
    /// u16, u32 and u64 in the format: its type there, its bytes, the number.
    Number(u8, usize, u64),
    Real(f64),
    Map(Vec<(&'a str, Value<'a>)>),
    List(Vec<Value<'a>>),
}
use Value::{List, Map, Number, Real, Text};

/// Control byte: type in the high three bits (0 and a second byte for the types above 7), length below 29 in the low five,
/// or 29 and one more byte.
fn control(kind: u8, length: usize, out: &mut Vec<u8>) {
    let short = u8::try_from(length.min(29)).unwrap();
    out.push(if kind > 7 { short } else { kind << 5 | short });
    if kind > 7 {
        out.push(kind - 7);
    }
    if length >= 29 {
        out.push(u8::try_from(length - 29).unwrap());
    }
}

fn write(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Text(text) => {
            control(2, text.len(), out);
            out.extend(text.as_bytes());
        }
        Real(number) => {
            control(3, 8, out);
            out.extend(number.to_be_bytes());
        }
        Number(kind, bytes, number) => {
            control(*kind, *bytes, out);
            out.extend(&number.to_be_bytes()[8 - bytes..]);
        }
        Map(pairs) => {
            control(7, pairs.len(), out);
            for (key, value) in pairs {
                write(&Text(key), out);
                write(value, out);
            }
        }
        List(values) => {
            control(11, values.len(), out);
            values.iter().for_each(|value| write(value, out));
        }
    }
}

/// A database whose tree looks at the first bit of an address only: below 128.0.0.0 (or 8000::) lies `record`.
fn database(ip_version: u64, record: &Value<'_>) -> Vec<u8> {
    let node_count = 1u32;
    let found = node_count + 16;
    let mut file = Vec::new();
    for record in [found, node_count] {
        file.extend(&record.to_be_bytes()[1..]);
    }
    file.extend([0; 16]);
    write(record, &mut file);
    file.extend(b"\xab\xcd\xefMaxMind.com");
    write(
        &Map(vec![
            ("binary_format_major_version", Number(5, 2, 2)),
            ("binary_format_minor_version", Number(5, 2, 0)),
            ("build_epoch", Number(9, 8, 1_700_000_000)),
            ("database_type", Text("Test-City")),
            ("description", Map(vec![("en", Text("test"))])),
            ("ip_version", Number(5, 2, ip_version)),
            ("languages", List(vec![Text("en")])),
            ("node_count", Number(6, 4, node_count.into())),
            ("record_size", Number(5, 2, 24)),
        ]),
        &mut file,
    );
    file
}

fn open(bytes: &[u8]) -> Result<Geo> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("geo.mmdb");
    std::fs::write(&path, bytes).unwrap();
    Geo::open(&path)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn city() -> Value<'static> {
    let names = |name: &'static str| ("names", Map(vec![("en", Text(name))]));
    Map(vec![
        ("city", Map(vec![names("Oakland")])),
        ("country", Map(vec![("iso_code", Text("US")), names("United States")])),
        (
            "location",
            Map(vec![
                ("latitude", Real(37.5)),
                ("longitude", Real(-122.25)),
                ("time_zone", Text("America/Los_Angeles")),
            ]),
        ),
        ("postal", Map(vec![("code", Text("94601"))])),
        ("subdivisions", List(vec![Map(vec![("iso_code", Text("CA")), names("California")])])),
    ])
}

#[test]
fn an_address_is_looked_up_with_all_its_parts() {
    let geo = open(&database(4, &city())).unwrap();
    assert_eq!(
        serde_json::to_value(geo.look_up(ip("1.2.3.4")).unwrap()).unwrap(),
        serde_json::json!({
            "country": "US", "countryName": "United States", "region": "US-CA", "regionName": "California",
            "locality": "Oakland", "postalCode": "94601", "latitude": 37.5, "longitude": -122.25,
            "timezone": "America/Los_Angeles", "source": "Test-City"
        })
    );
    assert_eq!(geo.describe(), Some(("Test-City", 1_700_000_000)));
    assert_eq!(
        geo.look_up(ip("::ffff:1.2.3.4")).unwrap().country.as_deref(),
        Some("US"),
        "an IPv4 address all the same"
    );
}

#[test]
fn what_is_not_listed_is_none() {
    let geo = open(&database(4, &city())).unwrap();
    assert_eq!(geo.look_up(ip("200.0.0.1")), None);
    assert_eq!(geo.look_up(ip("2001:db8::1")), None, "a file of IPv4 knows no IPv6");
    assert_eq!(open(&database(6, &city())).unwrap().look_up(ip("2001:db8::1")).unwrap().country.as_deref(), Some("US"));
    assert_eq!(Geo::none().look_up(ip("1.2.3.4")), None);
    assert_eq!(Geo::none().describe(), None);
}

#[test]
fn a_country_file_gives_the_country_alone() {
    let record = Map(vec![("country", Map(vec![("iso_code", Text("DE"))]))]);
    let place = open(&database(4, &record)).unwrap().look_up(ip("1.2.3.4")).unwrap();
    assert_eq!(place, Place { country: Some("DE".into()), source: Some("Test-City".into()), ..Place::default() });
    let record = Map(vec![("autonomous_system_organization", Text("Example"))]);
    assert_eq!(open(&database(4, &record)).unwrap().look_up(ip("1.2.3.4")), None);
}

#[test]
fn a_damaged_record_is_none_and_a_damaged_file_is_refused() {
    let wrong_type = Map(vec![("country", Text("DE"))]);
    assert_eq!(open(&database(4, &wrong_type)).unwrap().look_up(ip("1.2.3.4")), None);
    for bytes in [&b""[..], b"no database", &database(4, &city())[..200]] {
        let error = open(bytes).unwrap_err();
        assert_eq!((error.kind, error.code), (crate::base::error::Kind::Config, "geoip_file"));
    }
    let missing = Geo::open(Path::new("no/such/file.mmdb")).unwrap_err();
    assert_eq!(missing.kind, crate::base::error::Kind::Storage);
    assert!(missing.what.contains("no/such/file.mmdb"), "{missing}");
}
