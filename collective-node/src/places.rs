//! Fetches parts of sealed files from where their contributors keep them (SPEC "Place").
//!
//! A place is any web server that a stranger names. It is believed nothing: what comes is checked against the commitment by
//! whoever asked. It must not make this node a way into its operator's network either, so only public addresses are spoken to,
//! looked at when a connection is made, and redirects are followed here, each looked at like the first address. An address may hold a
//! token: no error and no log line has one.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use collective::contribution::PlaceUrl;
use collective::liveness::Outcome;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_ENCODING, CONTENT_RANGE, LOCATION, RANGE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::{Host, Url};

/// One try, redirects and waiting for the last byte included: a MiB at 300 kbit/s.
const PATIENCE: Duration = Duration::from_secs(30);

/// Until a connection stands: well above what a line around the world takes.
const CONNECT: Duration = Duration::from_secs(10);

/// Redirects in one try: from a short name to a store, and within that.
const MAX_REDIRECTS: usize = 4;

/// Tries under way at one host: as many as a browser makes.
pub const AT_ONE_HOST: usize = 6;

/// Tries under way at all hosts: a share of the descriptors that `http::serve` leaves to everything else.
const AT_ONCE: usize = 64;

/// Of these for strangers, who may name any host: the rest is for audits and jobs.
const FOR_STRANGERS: usize = 16;

/// Bytes before the range that are read past where a server gives the whole file: the largest is an escrowed upload's.
const MAX_SKIPPED: u64 = crate::intake::MAX_UPLOAD_BYTES as u64;

/// Why nothing came. No variant tells the address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlaceError {
    /// It is none that this node goes to.
    #[error("the place is refused: {0}")]
    Refused(&'static str),
    /// Nothing answered.
    #[error("the place does not answer: {0}")]
    Silent(&'static str),
    /// Something answered, and not with the file.
    #[error("the place answered {0}, not with the file")]
    Status(StatusCode),
    /// Something answered, and not as HTTP has it.
    #[error("the place gives no part of a file: {0}")]
    Garbled(&'static str),
}

impl PlaceError {
    /// What an audit makes of it.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Silent(_) => Outcome::Offline,
            Self::Refused(_) | Self::Status(_) | Self::Garbled(_) => Outcome::Error,
        }
    }
}

/// Goes to places. Clones share connections and limits.
#[derive(Clone)]
pub struct Places {
    http: Client,
    private: Arc<Private>,
    all: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    /// How many tries may be under way at each host that is being asked.
    hosts: Arc<Mutex<HashMap<String, Weak<Semaphore>>>>,
}

/// Holds one of the tries that strangers may cause.
#[derive(Debug)]
pub struct StrangersTurn {
    _permit: OwnedSemaphorePermit,
}

impl Places {
    /// Also goes to these places, without TLS and whatever their addresses.
    ///
    /// # Errors
    /// Where no TLS roots are to be had.
    pub fn new(private: Private) -> Result<Self, reqwest::Error> {
        let private = Arc::new(private);
        let builder = Client::builder()
            // A proxy would connect in our place, to whatever it likes.
            .no_proxy()
            .redirect(Policy::none())
            // One that waits for a next time is a descriptor that nothing counts.
            .pool_max_idle_per_host(0)
            .connect_timeout(CONNECT)
            .dns_resolver(Arc::new(Resolver(private.clone())));
        Ok(Self {
            http: builder.build()?,
            private,
            all: Arc::new(Semaphore::new(AT_ONCE)),
            strangers: Arc::new(Semaphore::new(FOR_STRANGERS)),
            hosts: Arc::default(),
        })
    }

    /// The bytes of a range, which is not empty, as far as there are any: fewer where the file ends before.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub async fn read(&self, place: &PlaceUrl, range: Range<u64>) -> Result<Bytes, PlaceError> {
        let url = self.allowed(place.as_str().parse())?;
        let turn = self.turn(&url).await;
        let tried = tokio::time::timeout(PATIENCE, self.follow(url, turn, range)).await;
        tried.map_err(|_| PlaceError::Silent("it took too long"))?
    }

    /// To be held while a place is asked because a stranger named it; `None` while others do that.
    pub fn strangers_turn(&self) -> Option<StrangersTurn> {
        let permit = self.strangers.clone().try_acquire_owned().ok()?;
        Some(StrangersTurn { _permit: permit })
    }

    /// Waits until fewer than [`AT_ONE_HOST`] tries are under way there, and fewer than [`AT_ONCE`] everywhere.
    async fn turn(&self, url: &Url) -> [OwnedSemaphorePermit; 2] {
        let host = url.host_str().unwrap_or_default().to_owned();
        let turns = {
            let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
            hosts.retain(|_, turns| turns.strong_count() > 0);
            let turns = hosts.get(&host).and_then(Weak::upgrade);
            let turns = turns.unwrap_or_else(|| Arc::new(Semaphore::new(AT_ONE_HOST)));
            hosts.insert(host, Arc::downgrade(&turns));
            turns
        };
        // In this order, so that whoever waits for one host holds up nobody at another.
        let at_host = turns.acquire_owned().await;
        let anywhere = self.all.clone().acquire_owned().await;
        [at_host, anywhere].map(|turn| turn.expect("nobody closes it"))
    }

    async fn follow(
        &self,
        mut url: Url,
        mut turn: [OwnedSemaphorePermit; 2],
        range: Range<u64>,
    ) -> Result<Bytes, PlaceError> {
        for _ in 0..=MAX_REDIRECTS {
            let last = range.end - 1;
            let asked = self.http.get(url.clone());
            let asked = asked.header(RANGE, format!("bytes={}-{last}", range.start));
            let response = asked.send().await.map_err(|error| why(&error))?;
            if !response.status().is_redirection() {
                return part(response, range).await;
            }
            let location = response.headers().get(LOCATION);
            let location = location.and_then(|it| it.to_str().ok());
            let location = location.ok_or(PlaceError::Status(response.status()))?;
            url = self.allowed(url.join(location))?;
            drop(turn);
            turn = self.turn(&url).await;
        }
        Err(PlaceError::Refused("it redirects too often"))
    }

    /// Looks at an address before anything is sent there. A name is looked at again once it is resolved.
    fn allowed(&self, url: Result<Url, url::ParseError>) -> Result<Url, PlaceError> {
        let refused = |why| Err(PlaceError::Refused(why));
        let Ok(url) = url else {
            return refused("it is no URL");
        };
        let is_listed = self.private.lists(&url);
        match url.scheme() {
            "https" => {}
            "http" if is_listed => {}
            _ => return refused("only https:// is spoken here"),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refused("a URL with a user name or password is shown to whoever looks");
        }
        let address = match url.host() {
            None => return refused("it names no host"),
            // Its addresses pass, and so this port alone may.
            Some(Host::Domain(name)) if self.private.has_host(name) && !is_listed => {
                return refused(NOT_PUBLIC);
            }
            Some(Host::Domain(_)) => None,
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        };
        if !is_listed && address.is_some_and(|address| !is_public(address)) {
            return refused(NOT_PUBLIC);
        }
        Ok(url)
    }
}

const NOT_PUBLIC: &str = "its address is none of the public internet";

/// Hosts with their ports that an operator trusts although they are in its own network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Private(HashSet<(String, u16)>);

impl TryFrom<Vec<String>> for Private {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, String> {
        let parse = |text: String| {
            let url = format!("http://{text}/").parse().ok();
            let place = url.as_ref().and_then(host_and_port);
            place
                .filter(|(host, port)| format!("{host}:{port}") == text)
                .ok_or_else(|| format!("'{text}' is no host with a port, as storage.lan:9000"))
        };
        texts
            .into_iter()
            .map(parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Private {
    fn lists(&self, url: &Url) -> bool {
        host_and_port(url).is_some_and(|place| self.0.contains(&place))
    }

    fn has_host(&self, name: &str) -> bool {
        self.0.iter().any(|(host, _)| host == name)
    }
}

fn host_and_port(url: &Url) -> Option<(String, u16)> {
    Some((url.host_str()?.to_owned(), url.port_or_known_default()?))
}

/// The host that a place is at, if it names one.
pub fn host(place: &PlaceUrl) -> Option<String> {
    let url: Url = place.as_str().parse().ok()?;
    url.host_str().map(str::to_owned)
}

/// The part of the file that a response has.
async fn part(response: Response, range: Range<u64>) -> Result<Bytes, PlaceError> {
    let encoding = response.headers().get(CONTENT_ENCODING);
    if encoding.is_some_and(|it| it != "identity") {
        return Err(PlaceError::Garbled("it is encoded, which nobody asked for"));
    }
    let skip = match response.status() {
        StatusCode::PARTIAL_CONTENT => {
            let given = response.headers().get(CONTENT_RANGE);
            let given = given.and_then(|it| first_and_last(it.to_str().ok()?));
            match given {
                Some((first, last)) if first == range.start && last < range.end => 0,
                _ => {
                    return Err(PlaceError::Garbled(
                        "it gives another part than was asked for",
                    ));
                }
            }
        }
        // The whole file, of a server that knows no ranges.
        StatusCode::OK if range.start <= MAX_SKIPPED => range.start,
        StatusCode::OK => return Err(PlaceError::Garbled("it knows no ranges")),
        // The file ends before.
        StatusCode::RANGE_NOT_SATISFIABLE => return Ok(Bytes::new()),
        status => return Err(PlaceError::Status(status)),
    };
    body(response, skip, range.end - range.start).await
}

/// `length` bytes of a body at most, behind the first `skip`. What comes after is not waited for.
async fn body(mut response: Response, mut skip: u64, length: u64) -> Result<Bytes, PlaceError> {
    let mut bytes = BytesMut::new();
    while (bytes.len() as u64) < length {
        let piece = response.chunk().await;
        let Some(mut piece) = piece.map_err(|_| PlaceError::Garbled("it stopped in the middle"))?
        else {
            break;
        };
        let before = skip.min(piece.len() as u64);
        skip -= before;
        piece = piece.split_off(before as usize);
        let room = length - bytes.len() as u64;
        piece.truncate(room.min(piece.len() as u64) as usize);
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

/// `bytes 3-7/12` or `bytes 3-7/*` (RFC 9110 §14.4).
fn first_and_last(content_range: &str) -> Option<(u64, u64)> {
    let (range, _) = content_range.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

/// What of an error may be told: its text has the address.
fn why(error: &reqwest::Error) -> PlaceError {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(inner) = cause {
        if inner.is::<NotPublic>() {
            return PlaceError::Refused(NOT_PUBLIC);
        }
        cause = inner.source();
    }
    match error {
        error if error.is_connect() || error.is_timeout() => {
            PlaceError::Silent("no connection, or no certificate that holds")
        }
        _ => PlaceError::Garbled("it does not speak HTTP"),
    }
}

/// A name leads to addresses of which none is public.
#[derive(Debug, Error)]
#[error("{NOT_PUBLIC}")]
struct NotPublic;

/// Resolves names to addresses that may be connected to: the same ones are then connected to, so a name that leads elsewhere a
/// moment later gains nothing.
struct Resolver(Arc<Private>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let is_listed = self.0.has_host(name.as_str());
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed = found.filter(|found| is_listed || is_public(found.ip()));
            let allowed: Vec<_> = allowed.collect();
            if allowed.is_empty() {
                return Err(NotPublic.into());
            }
            let addresses: Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}

/// Whether an address is of the public internet: of what IANA's registries of special-purpose addresses list, nothing is.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    // This network; shared (CGNAT); protocol assignments; 6to4 relays; benchmarks; multicast, reserved and broadcast.
    let special = matches!(
        address.octets(),
        [0, ..]
            | [100, 64..=127, ..]
            | [192, 0, 0, _]
            | [192, 88, 99, _]
            | [198, 18 | 19, ..]
            | [224..=255, ..]
    );
    let local = address.is_private() || address.is_loopback() || address.is_link_local();
    !(special || local || address.is_documentation())
}

/// Global unicast (2000::/3) without protocol assignments (Teredo and the like), documentation and 6to4: everything else, IPv4
/// in other clothes included, is left out with it.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let special = matches!(
        address.segments(),
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..]
    );
    (0x2000..0x4000).contains(&address.segments()[0]) && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_public_internet_is_public() {
        let addresses = |text: &str| -> Vec<IpAddr> {
            let each = text.split_whitespace();
            each.map(|it| it.parse().expect("an address")).collect()
        };
        let inside = "0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.127.255.255 127.0.0.1 127.9.9.9 169.254.169.254 172.16.0.1
            172.31.255.255 192.0.0.8 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.9
            224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
            :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 64:ff9b::7f00:1 64:ff9b:1::1 100::1 2001::1 2001:2::1
            2001:1ff::1 2001:db8::1 2002:7f00:1::1 3fff::1 5f00::1 fc00::1 fd12::1 fe80::1 fec0::1 ff02::1 4000::1";
        for address in addresses(inside) {
            assert!(!is_public(address), "{address}");
        }
        let outside = "1.1.1.1 8.8.8.8 100.63.0.1 100.128.0.1 172.32.0.1 192.0.1.1 198.20.0.1 223.255.255.255 2001:200::1
            2001:4860:4860::8888 2003::1 2606:4700::1111 2a00::1";
        for address in addresses(outside) {
            assert!(is_public(address), "{address}");
        }
    }

    #[test]
    fn what_is_no_public_https_is_refused_before_anything_is_sent() {
        let places = |private: &[&str]| {
            let private: Vec<_> = private.iter().map(|&it| it.to_owned()).collect();
            Places::new(private.try_into().expect("places")).expect("a client")
        };
        let none = places(&[]);
        let refused =
            |text: &str| matches!(none.allowed(text.parse()), Err(PlaceError::Refused(_)));
        for text in [
            "http://place.example/",
            "file:///etc/passwd",
            "ftp://place.example/",
            "https://name@place.example/",
            "https://:word@place.example/",
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://017700000001/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://169.254.169.254/latest/meta-data",
            "no address",
        ] {
            assert!(refused(text), "{text}");
        }
        assert!(!refused("https://place.example:8443/file.age?token=t"));
        assert!(!refused("https://1.1.1.1/"));

        let some = places(&["10.0.0.1:9000", "storage.lan:443", "[::1]:80"]);
        for (text, is_allowed) in [
            ("http://10.0.0.1:9000/file.age", true),
            ("https://10.0.0.1:9000/file.age", true),
            ("http://10.0.0.1:9001/", false),
            ("http://10.0.0.2:9000/", false),
            ("https://storage.lan/", true),
            ("https://storage.lan:8443/", false),
            ("http://[::1]/", true),
            ("http://name@10.0.0.1:9000/", false),
        ] {
            assert_eq!(some.allowed(text.parse()).is_ok(), is_allowed, "{text}");
        }
        for text in [
            "10.0.0.1",
            "storage.lan:",
            "http://a:1",
            "a:1/b",
            "0x7f.1:80",
            "n@a:1",
        ] {
            assert!(Private::try_from(vec![text.to_owned()]).is_err(), "{text}");
        }
    }

    #[test]
    fn only_a_range_is_a_range() {
        assert_eq!(first_and_last("bytes 3-7/12"), Some((3, 7)));
        assert_eq!(first_and_last("bytes 3-7/*"), Some((3, 7)));
        for text in [
            "bytes */12",
            "bytes 7-3/12",
            "3-7/12",
            "bytes 3-7",
            "bytes -7/12",
        ] {
            assert_eq!(first_and_last(text), None, "{text}");
        }
    }
}
