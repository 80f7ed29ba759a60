//! What the text of a place means (SPEC "Place"): a file on a web server, maybe behind a name and a password, an object in a bucket, or
//! content in IPFS.

use collective::contribution::PlaceUrl;
use serde::Deserialize;
use url::Url;

use super::object::Object;

/// Bytes of a content identifier: twice those of a SHA-512 in its longest common spelling, hexadecimal.
const MAX_CID_BYTES: usize = 272;

/// What a gateway gives without asking anybody: an identifier that is its own content (identity multihash), and that.
pub(super) const PROBE: (&str, &[u8]) = ("bafkqabtimvwgy3yk", b"hello\n");

/// Where a contributor says that a file is. It may hold a token or a password, so it has no Debug.
pub(super) enum Address {
    /// At a web server, a WebDAV one included: user name and password of the URL are for its origin alone.
    Web(Url),
    /// Whoever has it, through a gateway.
    Ipfs(Content),
    /// In a bucket, with a key that reads it.
    Bucket(Object),
}

impl Address {
    /// Reads a place. Whether a node goes there is for [`super::Places`] to say.
    ///
    /// # Errors
    /// What is wrong with it, without a part of it.
    pub fn parse(place: &PlaceUrl) -> Result<Self, &'static str> {
        let url: Url = place.as_str().parse().map_err(|_| NO_URL)?;
        match url.scheme() {
            "ipfs" => Content::parse(&url).map(Self::Ipfs),
            "s3" => Object::parse(&url).map(Self::Bucket),
            // What is no text would go along as it stands, or not at all.
            "http" | "https" if !has_text(&url) => Err(NO_TEXT),
            "http" | "https" => Ok(Self::Web(url)),
            _ => Err(OTHER_SCHEME),
        }
    }
}

/// Whether a place is one that some node may go to, for whoever is about to sign it.
///
/// # Errors
/// What is wrong with it, without a part of it.
pub fn check(place: &PlaceUrl) -> Result<(), &'static str> {
    Address::parse(place).map(drop)
}

pub(super) const NO_URL: &str = "it is no URL";
pub(super) const OTHER_SCHEME: &str = "only https://, s3:// and ipfs:// are spoken here, and http:// with hosts that the operator lists";
const NO_CONTENT: &str =
    "it is no ipfs://CID/path: a content identifier (CID) and a path, and nothing else";

const LEADS_OUT: &str = "its path leads out of its content";
const NO_TEXT: &str = "its user name or password is no UTF-8 once it is decoded";

/// Whether user name and password are text, as Basic authentication has them here.
fn has_text(url: &Url) -> bool {
    let is_text = |part: &str| String::from_utf8(decoded(part)).is_ok();
    is_text(url.username()) && url.password().is_none_or(is_text)
}

/// Percent-decoded once (RFC 3986 §2.1); what is no octet stays as it is.
pub(super) fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *first == b'%');
        let octet = digits.and_then(|digits| alloy::hex::decode_to_array::<_, 1>(digits).ok());
        bytes.push(octet.map_or(*first, |[octet]| octet));
        rest = &after[2 * usize::from(octet.is_some())..];
    }
    bytes
}

/// `CID` and what is below it, as a gateway has them in its path.
pub(super) struct Content {
    cid: String,
    path: String,
}

impl Content {
    fn parse(url: &Url) -> Result<Self, &'static str> {
        let has_more = !url.username().is_empty()
            || url.password().is_some()
            || url.port().is_some()
            || url.query().is_some()
            || url.fragment().is_some();
        match url.host_str() {
            Some(cid) if is_cid(cid) && !has_more && leads_out(url.path()) => Err(LEADS_OUT),
            Some(cid) if is_cid(cid) && !has_more => Ok(Self {
                cid: cid.to_owned(),
                path: url.path().to_owned(),
            }),
            _ => Err(NO_CONTENT),
        }
    }

    fn probe() -> Self {
        Self {
            cid: PROBE.0.to_owned(),
            path: String::new(),
        }
    }
}

/// Whether a path has a segment of dots where a gateway may see one that this node's own parser does not: behind an encoded slash,
/// or behind a backslash.
fn leads_out(path: &str) -> bool {
    let decoded = decoded(path);
    let mut segments = decoded.split(|byte| matches!(byte, b'/' | b'\\'));
    segments.any(|segment| matches!(segment, b"." | b".."))
}

/// Whether a text is a content identifier by its letters: version 0, or version 1 in base 16, 32, 36 or 58. What it names is for the
/// gateway to find, and is compared with the commitment.
fn is_cid(text: &str) -> bool {
    const BASE58: &str = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let of = |letters: &str, text: &str| text.chars().all(|it| letters.contains(it));
    if text.starts_with("Qm") {
        return text.len() == 46 && of(BASE58, text);
    }
    let Some((base, digits)) = text.split_at_checked(1) else {
        return false;
    };
    let letters = match base {
        "f" => "0123456789abcdef",
        "b" => "abcdefghijklmnopqrstuvwxyz234567",
        "k" => "0123456789abcdefghijklmnopqrstuvwxyz",
        "z" => BASE58,
        _ => return false,
    };
    (8..=MAX_CID_BYTES).contains(&text.len()) && of(letters, digits)
}

/// Through which an operator has content of IPFS fetched: what stands before `/ipfs/CID`. It is trusted with as little as a
/// place: what it gives is compared with the commitment.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Gateway(Url);

impl TryFrom<String> for Gateway {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed: Option<Url> = text.parse().ok();
        let is_plain = |url: &Url| {
            matches!(url.scheme(), "http" | "https")
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
        };
        let url = parsed.filter(is_plain);
        url.map(Self).ok_or_else(|| {
            format!("'{text}' is no address of an IPFS gateway, as https://gateway.example")
        })
    }
}

impl Gateway {
    /// Where it has this content; `None` where the path would lead out of it.
    pub(super) fn url(&self, content: &Content) -> Option<Url> {
        let below = format!(
            "{}/ipfs/{}",
            self.0.path().trim_end_matches('/'),
            content.cid
        );
        let mut url = self.0.clone();
        url.set_path(&format!("{below}{}", content.path));
        // A path has one more way to say `..` in http than in ipfs.
        let rest = url.path().strip_prefix(&below)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(url)
    }

    /// Where it has [`PROBE`].
    pub(super) fn probe_url(&self) -> Url {
        self.url(&Content::probe()).expect("it has no path")
    }

    pub(super) fn address(&self) -> &Url {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V0: &str = "QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR";
    const V1: &str = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi";

    fn parse(text: &str) -> Result<Address, &'static str> {
        Address::parse(&text.to_owned().try_into().expect("printable"))
    }

    fn at(gateway: &str, text: &str) -> Option<String> {
        let Ok(Address::Ipfs(content)) = parse(text) else {
            return None;
        };
        let gateway = Gateway::try_from(gateway.to_owned()).expect("a gateway");
        gateway.url(&content).map(String::from)
    }

    #[test]
    fn content_is_asked_for_below_its_identifier_and_nowhere_else() {
        let gateway = "https://gateway.example";
        for (text, path) in [
            (format!("ipfs://{V0}"), V0.to_owned()),
            (format!("ipfs://{V1}"), V1.to_owned()),
            (format!("ipfs://{V1}/"), format!("{V1}/")),
            (
                format!("ipfs://{V1}/a/b%20c.age"),
                format!("{V1}/a/b%20c.age"),
            ),
            (format!("ipfs://{V1}/a/../b"), format!("{V1}/b")),
            (format!("ipfs://{V1}/../../b"), format!("{V1}/b")),
            (format!("ipfs://{V1}/%2e%2e/%2E%2E/b"), format!("{V1}/b")),
            (format!("ipfs://{V1}/%2f%2fb"), format!("{V1}/%2f%2fb")),
        ] {
            let expected = format!("{gateway}/ipfs/{path}");
            assert_eq!(at(gateway, &text), Some(expected), "{text}");
        }
        let below = at("http://127.0.0.1:8080/of/us/", &format!("ipfs://{V1}/a"));
        let expected = format!("http://127.0.0.1:8080/of/us/ipfs/{V1}/a");
        assert_eq!(below, Some(expected));
        for path in [
            "..\\..\\api",
            "a/..\\..\\..\\api",
            "..\\x",
            "..%2f..%2fapi",
            "a%2F..%2F..%2f..%2Fapi",
            "..%5c..%5Capi",
            "%2e%2e%2f%2e%2e%2fapi",
            "a%2f.%2fb",
            "a%2f..",
        ] {
            let refused = parse(&format!("ipfs://{V1}/{path}")).err();
            assert_eq!(refused, Some(LEADS_OUT), "{path}");
        }
        // Decoded once, that is a name.
        for path in ["..%252f..%252fapi", "a..b/...", "%2e%2", "..%2"] {
            assert!(parse(&format!("ipfs://{V1}/{path}")).is_ok(), "{path}");
        }
    }

    #[test]
    fn what_is_no_content_identifier_is_refused() {
        for text in [
            "ipfs://".to_owned(),
            "ipfs:bafybeigdyrzt5sfp7udm7hu".to_owned(),
            "ipfs://127.0.0.1/".to_owned(),
            "ipfs://localhost/".to_owned(),
            "ipfs://[::1]/".to_owned(),
            "ipfs://..".to_owned(),
            "ipfs://b".to_owned(),
            format!("ipfs://{}", &V0[..45]),
            format!("ipfs://{}0", &V0[..45]),
            format!("ipfs://{}1", &V1[..20]),
            format!("ipfs://{}", V1.to_uppercase()),
            format!("ipfs://b{}", "a".repeat(MAX_CID_BYTES)),
            format!("ipfs://name@{V1}/"),
            format!("ipfs://:word@{V1}/"),
            format!("ipfs://{V1}:80/"),
            format!("ipfs://{V1}/a?format=car"),
            format!("ipfs://{V1}/a#b"),
            format!("ipns://{V1}/a"),
            format!("ftp://{V1}/a"),
            "no address".replace(' ', ""),
        ] {
            assert!(parse(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn user_name_and_password_are_text() {
        for (credentials, is_taken) in [
            ("me:word@", true),
            ("m%C3%A9:w%20rd%25@", true),
            ("m%E9:word@", false),
            ("me:w%FFrd@", false),
            (":%C3@", false),
        ] {
            let read = parse(&format!("https://{credentials}cloud.example/file"));
            assert_eq!(read.err(), (!is_taken).then_some(NO_TEXT), "{credentials}");
        }
    }

    #[test]
    fn a_gateway_is_a_plain_address() {
        let read = |text: &str| Gateway::try_from(text.to_owned());
        assert!(read("https://gateway.example").is_ok());
        assert!(read("http://127.0.0.1:8080").is_ok());
        for text in [
            "gateway.example",
            "ftp://gateway.example",
            "https://name@gateway.example",
            "https://gateway.example/?token=t",
            "https://gateway.example/#a",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        let probe = read("https://gateway.example/").map(|it| String::from(it.probe_url()));
        let expected = "https://gateway.example/ipfs/bafkqabtimvwgy3yk";
        assert_eq!(probe, Ok(expected.to_owned()));
    }
}
