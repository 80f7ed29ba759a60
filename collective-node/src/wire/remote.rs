//! Whom to call.

use std::fmt;

use collective::id::TransportPin;
use url::{Host, Url};

use super::WireError;

/// A node to talk to: where it says it is, and the key that the chain says it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    host: String,
    port: u16,
    pin: TransportPin,
}

impl Remote {
    /// The node at `https://host:port` with the key of this pin.
    ///
    /// # Errors
    /// [`WireError::Address`] for anything but scheme, host and port.
    pub fn new(endpoint: &str, pin: TransportPin) -> Result<Self, WireError> {
        let malformed = || WireError::Address(endpoint.to_owned());
        let url: Url = endpoint.parse().map_err(|_| malformed())?;
        let host = match url.host().ok_or_else(malformed)? {
            Host::Ipv6(address) => address.to_string(),
            host => host.to_string(),
        };
        let port = url.port_or_known_default().ok_or_else(malformed)?;
        let remote = Self { host, port, pin };
        // A user name, a path or a query would be left out silently.
        if url.scheme() != "https" || url != remote.url().parse().map_err(|_| malformed())? {
            return Err(malformed());
        }
        Ok(remote)
    }

    /// The key that it must show.
    pub fn pin(&self) -> TransportPin {
        self.pin
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    fn url(&self) -> String {
        format!("https://{}", self.authority())
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url())
    }
}
