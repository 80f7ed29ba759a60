//! Fetches parts of sealed files from where their contributors keep them (SPEC "Place").
//!
//! A place is any web server that a stranger names, an object in a bucket, or content in IPFS. It is believed nothing: what comes is checked against the
//! commitment by whoever asked. It must not make this node a way into its operator's network either, so only public addresses are
//! spoken to, looked at when a connection is made, and redirects are followed here, each looked at like the first address. An
//! address may hold a token, a user name and a password, or a key: no error and no log line has one, and these are sent to the origin that
//! they are for alone.
//!
//! WebDAV is a GET with a password, a bucket's object a GET of an address that is signed here, and IPFS a GET through a gateway. No
//! client of theirs is needed for that, and one would connect past the resolver that looks at addresses.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use collective::contribution::PlaceUrl;
use collective::liveness::Outcome;
use collective::permit::Fault;
use reqwest::header::{LOCATION, RANGE};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use thiserror::Error;
use tokio::sync::Semaphore;
use url::Url;

use address::{Address, Content, NO_URL, OTHER_SCHEME, PROBE};
use answer::{part, why};
use object::Object;
use public::{NOT_PUBLIC, Resolver};
use turns::{AT_ONCE, FOR_STRANGERS, Hosts, Look, TOO_SLOW};

pub use address::{Gateway, check};
pub use public::Private;
pub use turns::AT_ONE_HOST;

mod address;
mod answer;
mod object;
mod public;
mod turns;

/// One try, redirects and waiting for the last byte included: a MiB, which is what one asks for at most, at 300 kbit/s. Waiting for a
/// turn is none of the place's time.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Until a connection stands: well above what a line around the world takes.
const CONNECT: Duration = Duration::from_secs(10);

/// For a gateway to give what it has to ask nobody for.
const PROBE_PATIENCE: Duration = Duration::from_secs(8);

/// Redirects in one try: from a short name to a store, and within that.
const MAX_REDIRECTS: usize = 4;

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
    /// Others are being asked.
    #[error("this node asks as many places as it can just now: send it again in a minute")]
    Busy,
    /// The operator named none.
    #[error(
        "this node fetches nothing from IPFS: its operator names no gateway (`ipfs_gateway`); name a place at https://"
    )]
    NoGateway,
    /// Reading buckets is not built in.
    #[error(
        "this node fetches nothing from s3://: its operator's build is without it; name a place at https://, a presigned one for instance"
    )]
    NoBuckets,
    /// The operator's own does not do its part, whatever it is asked for.
    #[error(
        "this node's IPFS gateway does not work, which is its operator's to mend: try again later"
    )]
    Gateway,
    /// It fails at this content in a way that says nothing of who has it: it may be full, closed, or find nobody in time.
    #[error(
        "this node's IPFS gateway answered {0} and gave no content, which is its operator's to mend: try again later, or name a place at https://"
    )]
    GatewayStatus(StatusCode),
}

/// What of a gateway's answers is its own doing. 504 is also what one says that found nobody in time: that cannot be told apart.
const GATEWAYS_OWN: [StatusCode; 6] = [
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

impl PlaceError {
    /// What an audit makes of it; `None` where the node could not ask, which tells nothing of whoever keeps the file.
    pub fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Silent(_) => Some(Outcome::Offline),
            Self::Refused(_) | Self::Status(_) | Self::Garbled(_) => Some(Outcome::Error),
            Self::Busy
            | Self::NoGateway
            | Self::NoBuckets
            | Self::Gateway
            | Self::GatewayStatus(_) => None,
        }
    }

    /// Who has to act, where a contributor names a place.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Busy | Self::Gateway | Self::GatewayStatus(_) => Fault::Operator,
            _ => Fault::Contributor,
        }
    }

    /// What a contributor does about it, beside what the error says.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Silent(_) | Self::Status(_) | Self::Garbled(_) => {
                "; put the sealed file there, then send this again"
            }
            Self::Refused(_)
            | Self::Busy
            | Self::NoGateway
            | Self::NoBuckets
            | Self::Gateway
            | Self::GatewayStatus(_) => "",
        }
    }
}

/// The gateway that an operator names is none that this node may speak to.
#[derive(Debug, Error)]
#[error(
    "ipfs_gateway: {0}; a gateway without TLS or in this network has to be in private_places, too, as 127.0.0.1:8080"
)]
pub struct GatewayRefused(&'static str);

/// Goes to places. Clones share connections and limits.
#[derive(Clone)]
pub struct Places {
    http: Client,
    private: Arc<Private>,
    gateway: Option<Arc<Gateway>>,
    all: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    /// How many tries may be under way at each host that is being asked: all, and those for strangers.
    hosts: Arc<Mutex<Hosts>>,
    /// Where these go somewhere because a stranger said so.
    look: Option<Arc<Look>>,
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
            gateway: None,
            all: Arc::new(Semaphore::new(AT_ONCE)),
            strangers: Arc::new(Semaphore::new(FOR_STRANGERS)),
            hosts: Arc::default(),
            look: None,
        })
    }

    /// Also fetches content of IPFS, through this gateway.
    ///
    /// # Errors
    /// Where the gateway is none that this goes to.
    pub fn through(mut self, gateway: Gateway) -> Result<Self, GatewayRefused> {
        match self.allowed(gateway.address()) {
            Err(PlaceError::Refused(why)) => Err(GatewayRefused(why)),
            _ => {
                self.gateway = Some(Arc::new(gateway));
                Ok(self)
            }
        }
    }

    /// The bytes of a range, which is not empty, as far as there are any: fewer where the file ends before. All of them are in
    /// memory, and there is time for a MiB.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub async fn read(&self, place: &PlaceUrl, range: Range<u64>) -> Result<Bytes, PlaceError> {
        match Address::parse(place).map_err(PlaceError::Refused)? {
            Address::Web(url) => self.fetch(url, range, PATIENCE).await,
            Address::Bucket(object) => {
                let service = self.service(&object)?;
                let url = object.signed(&service, self.http.clone()).await?;
                self.fetch(url, range, PATIENCE).await
            }
            Address::Ipfs(content) => self.fetch_content(&content, range).await,
        }
    }

    /// The host that is asked for what is at a place, if there is one.
    pub fn host(&self, place: &PlaceUrl) -> Option<String> {
        let url = match Address::parse(place).ok()? {
            Address::Web(url) => url,
            Address::Bucket(object) => self.service(&object).ok()?,
            Address::Ipfs(_) => self.gateway.as_ref()?.address().clone(),
        };
        url.host_str().map(str::to_owned)
    }

    /// The service of an object: without TLS only where the operator lists it.
    fn service(&self, object: &Object) -> Result<Url, PlaceError> {
        let plain = object.service("http").filter(|it| self.private.lists(it));
        let service = plain.or_else(|| object.service("https"));
        service.ok_or(PlaceError::Refused(NO_URL))
    }

    /// Whether what is at a place is asked for at the gateway.
    pub fn is_in_ipfs(&self, place: &PlaceUrl) -> bool {
        matches!(Address::parse(place), Ok(Address::Ipfs(_)))
    }

    /// Whether this node could tell that a place gives nothing: of a gateway that does not even give what it has to ask nobody for
    /// nobody would ever know.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub async fn can_reach(&self, place: &PlaceUrl) -> Result<(), PlaceError> {
        match Address::parse(place).map_err(PlaceError::Refused)? {
            Address::Web(_) | Address::Bucket(_) => Ok(()),
            Address::Ipfs(_) => {
                let gateway = self.gateway.as_ref().ok_or(PlaceError::NoGateway)?;
                self.probe(gateway).await
            }
        }
    }

    /// Where a gateway gives nothing, either nobody has the content, or the gateway does not work: then it says so, or does not
    /// even give what it has to ask nobody for.
    async fn fetch_content(
        &self,
        content: &Content,
        range: Range<u64>,
    ) -> Result<Bytes, PlaceError> {
        let gateway = self.gateway.as_ref().ok_or(PlaceError::NoGateway)?;
        let url = gateway.url(content);
        let url = url.ok_or(PlaceError::Refused("its path leads out of its content"))?;
        match self.fetch(url, range, PATIENCE).await {
            Err(PlaceError::Status(status)) if GATEWAYS_OWN.contains(&status) => {
                tracing::warn!(%status, "the IPFS gateway gives no content");
                Err(PlaceError::GatewayStatus(status))
            }
            // There is no time to ask for anything else.
            Err(error @ (PlaceError::Busy | PlaceError::Silent(TOO_SLOW))) => Err(error),
            Err(error) => {
                self.probe(gateway).await?;
                Err(error)
            }
            fetched => fetched,
        }
    }

    async fn probe(&self, gateway: &Gateway) -> Result<(), PlaceError> {
        let (_, expected) = PROBE;
        let range = 0..expected.len() as u64;
        match self.fetch(gateway.probe_url(), range, PROBE_PATIENCE).await {
            Ok(found) if found == expected => Ok(()),
            Err(error @ (PlaceError::Busy | PlaceError::Silent(TOO_SLOW))) => Err(error),
            probed => {
                let error = probed.err().map(|error| error.to_string());
                tracing::error!(
                    error,
                    "the IPFS gateway does not work: what is kept in IPFS is not reached"
                );
                Err(PlaceError::Gateway)
            }
        }
    }

    /// Asks, and goes where that redirects to. The place has so long for all of it, from turn to turn.
    async fn fetch(
        &self,
        mut url: Url,
        range: Range<u64>,
        mut patience: Duration,
    ) -> Result<Bytes, PlaceError> {
        self.allowed(&url)?;
        for _ in 0..=MAX_REDIRECTS {
            let turn = self.turn(&url).await?;
            let asked = self.in_time(&mut patience, self.ask(&url, &range)).await;
            drop(turn);
            url = match asked? {
                Asked::Part(bytes) => return Ok(bytes),
                Asked::To(url) => url,
            };
            self.allowed(&url)?;
        }
        Err(PlaceError::Refused("it redirects too often"))
    }

    async fn ask(&self, url: &Url, range: &Range<u64>) -> Result<Asked, PlaceError> {
        let last = range.end - 1;
        // What the URL has of a user name and a password is sent as RFC 7617 has it, and not in the URL.
        let asked = self.http.get(url.clone());
        let asked = asked.header(RANGE, format!("bytes={}-{last}", range.start));
        let response = asked.send().await.map_err(|error| why(&error))?;
        if !response.status().is_redirection() {
            return Ok(Asked::Part(part(response, range.clone()).await?));
        }
        let location = response.headers().get(LOCATION);
        let location = location.and_then(|it| it.to_str().ok());
        let location = location.ok_or(PlaceError::Status(response.status()))?;
        let to = redirected(url, location).map_err(PlaceError::Refused)?;
        Ok(Asked::To(to))
    }

    /// Looks at an address before anything is sent there. A name is looked at again once it is resolved.
    fn allowed(&self, url: &Url) -> Result<(), PlaceError> {
        match url.scheme() {
            "https" => {}
            "http" if self.private.lists(url) => {}
            _ => return Err(PlaceError::Refused(OTHER_SCHEME)),
        }
        match self.private.allows(url) {
            true => Ok(()),
            false => Err(PlaceError::Refused(NOT_PUBLIC)),
        }
    }
}

/// What a place answered.
enum Asked {
    Part(Bytes),
    To(Url),
}

/// Where a redirect leads. User name and password go along within their origin, and a server gives nobody others.
fn redirected(from: &Url, location: &str) -> Result<Url, &'static str> {
    let mut to = with_credentials(from.clone(), "", None)?;
    to = to.join(location).map_err(|_| NO_URL)?;
    if has_credentials(&to) {
        return Err("it redirects to an address with a user name or password");
    }
    match to.origin() == from.origin() {
        true => with_credentials(to, from.username(), from.password()),
        false => Ok(to),
    }
}

fn with_credentials(mut url: Url, user: &str, password: Option<&str>) -> Result<Url, &'static str> {
    let set = url.set_username(user);
    let set = set.and_then(|()| url.set_password(password));
    // Only of a URL without a host.
    set.map_err(|()| NO_URL)?;
    Ok(url)
}

fn has_credentials(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn places(private: &[&str]) -> Places {
        let private: Vec<_> = private.iter().map(|&it| it.to_owned()).collect();
        Places::new(private.try_into().expect("places")).expect("a client")
    }

    fn is_allowed(places: &Places, text: &str) -> bool {
        text.parse().is_ok_and(|url| places.allowed(&url).is_ok())
    }

    #[test]
    fn what_is_no_public_https_is_refused_before_anything_is_sent() {
        let none = places(&[]);
        for text in [
            "http://place.example/",
            "file:///etc/passwd",
            "ftp://place.example/",
            "http://name:word@place.example/",
            "https://name:word@127.0.0.1/",
            "https://public.example@127.0.0.1/",
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://017700000001/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://169.254.169.254/latest/meta-data",
            "no address",
        ] {
            assert!(!is_allowed(&none, text), "{text}");
        }
        for text in [
            "https://place.example:8443/file.age?token=t",
            "https://name:word@place.example/remote.php/dav/files/name/file.age",
            "https://1.1.1.1/",
        ] {
            assert!(is_allowed(&none, text), "{text}");
        }

        let some = places(&["10.0.0.1:9000", "storage.lan:443", "[::1]:80"]);
        for (text, allowed) in [
            ("http://10.0.0.1:9000/file.age", true),
            ("https://10.0.0.1:9000/file.age", true),
            ("http://name@10.0.0.1:9000/", true),
            ("http://10.0.0.1:9001/", false),
            ("http://10.0.0.2:9000/", false),
            ("https://storage.lan/", true),
            ("https://storage.lan:8443/", false),
            ("http://[::1]/", true),
            ("http://10.0.0.1:9000@10.0.0.2/", false),
        ] {
            assert_eq!(is_allowed(&some, text), allowed, "{text}");
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
    fn a_gateway_has_to_be_public_or_listed() {
        let gateway = |text: &str| Gateway::try_from(text.to_owned()).expect("a gateway");
        for (text, is_taken) in [
            ("https://gateway.example", true),
            ("http://gateway.example", false),
            ("https://127.0.0.1:8080", false),
            ("http://10.0.0.1:8080", true),
            ("http://10.0.0.1:8081", false),
        ] {
            let through = places(&["10.0.0.1:8080"]).through(gateway(text));
            assert_eq!(through.is_ok(), is_taken, "{text}");
        }
    }

    #[test]
    fn a_password_goes_along_within_its_origin_alone() {
        let from: Url = "https://me:word@cloud.example/dav/file"
            .parse()
            .expect("a URL");
        let to = |location| redirected(&from, location).map(String::from);
        for (location, url) in [
            ("other", "https://me:word@cloud.example/dav/other"),
            ("/other?a", "https://me:word@cloud.example/other?a"),
            (
                "https://cloud.example:443/b",
                "https://me:word@cloud.example/b",
            ),
            (
                "https://cloud.example:8443/b",
                "https://cloud.example:8443/b",
            ),
            ("http://cloud.example/b", "http://cloud.example/b"),
            ("//store.example/b", "https://store.example/b"),
            ("https://store.example/b", "https://store.example/b"),
        ] {
            assert_eq!(to(location), Ok(url.to_owned()), "{location}");
        }
        for location in ["https://me:word@cloud.example/b", "//:x@store.example/b"] {
            assert!(to(location).is_err(), "{location}");
        }
        let open: Url = "https://cloud.example/file".parse().expect("a URL");
        let onward = redirected(&open, "/b").map(String::from);
        assert_eq!(onward, Ok("https://cloud.example/b".to_owned()));
    }
}
