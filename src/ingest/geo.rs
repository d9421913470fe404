//! Where on earth an address is, from the operator's own MMDB file (GeoLite2, DB-IP and the like).
//! The only file that names maxminddb. Must never ask a network service, and never keep the address it looked up.
//! Invariant: without a file every answer is `None`, and a damaged record is `None` too, never an error of the event.

use std::net::IpAddr;
use std::path::Path;

use maxminddb::{MaxMindDbError, Reader, geoip2};

use crate::base::error::{Error, Result, io};
use crate::domain::place::Place;

/// An open geolocation database, or none. The file is held in memory (a country file about 10 MB, a city file about 60):
/// mapping it would need unsafe code, and a file replaced in place would then crash the process.
#[derive(Debug)]
pub struct Geo {
    reader: Option<Reader<Vec<u8>>>,
}

impl Geo {
    /// No database: every answer is `None`.
    pub fn none() -> Self {
        Geo { reader: None }
    }

    /// Reads the file whole. Errors: Storage when it cannot be read, Config (`geoip_file`) when it is no such database.
    pub fn open(path: &Path) -> Result<Self> {
        match Reader::open_readfile(path) {
            Ok(reader) => Ok(Geo { reader: Some(reader) }),
            Err(MaxMindDbError::Io(error)) => {
                Err(io(format!("reading the geolocation file {}", path.display()), error))
            }
            Err(error) => Err(Error::config(format!("{} is no geolocation database", path.display()))
                .code("geoip_file")
                .remedy("give an MMDB file of cities or countries, or leave geoip_file out")
                .source(error)),
        }
    }

    /// Name of the database and when it was built (seconds since 1970), for status pages.
    pub fn describe(&self) -> Option<(&str, u64)> {
        self.reader.as_ref().map(|reader| (reader.metadata().database_type.as_str(), reader.metadata().build_epoch))
    }

    /// Where the address is; `None` for private and unlisted addresses.
    pub fn look_up(&self, ip: IpAddr) -> Option<Place> {
        let reader = self.reader.as_ref()?;
        let city: geoip2::City<'_> = reader
            .lookup(ip.to_canonical())
            .and_then(|found| found.decode())
            .inspect_err(|error| log::debug!("geolocation record unreadable: {error}"))
            .ok()??;
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let country = city.country.iso_code;
        let region = city.subdivisions.first();
        let place = Place {
            country: owned(country),
            country_name: owned(city.country.names.english),
            region: country.zip(region.and_then(|region| region.iso_code)).map(|(of, code)| format!("{of}-{code}")),
            region_name: owned(region.and_then(|region| region.names.english)),
            locality: owned(city.city.names.english),
            postal_code: owned(city.postal.code),
            latitude: city.location.latitude,
            longitude: city.location.longitude,
            timezone: owned(city.location.time_zone),
            source: None,
        };
        // A record that says nothing of the place (an owner's name alone, say) is no place.
        (place != Place::default()).then(|| Place { source: Some(reader.metadata().database_type.clone()), ..place })
    }
}

#[cfg(test)]
mod tests;
