//! A place on earth that an IP address was looked up to be at.
//! A shape only: it must never know how it was found.

use serde::{Deserialize, Serialize};

/// What is known of where a visit came from, as JourneyGeolocation names it; unknown parts are `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Place {
    /// ISO 3166-1 code of two letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// The country's name in English.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country_name: Option<String>,
    /// ISO 3166-2 code, country included: `US-CA`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The region's name in English.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region_name: Option<String>,
    /// City or town, in English.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<String>,
    /// Postal code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<String>,
    /// Degrees, north positive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latitude: Option<f64>,
    /// Degrees, east positive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longitude: Option<f64>,
    /// IANA name of the time zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// What it was looked up in: the database's own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}
