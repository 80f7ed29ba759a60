//! What an attacker can write without any secret: stanzas with a chosen point and the right tag.

use collective::seal::curve::Point;
use collective::seal::header::Stanza;
use collective::seal::tagged::TaggedRecipient;
use p256::ProjectivePoint;
use p256::elliptic_curve::sec1::ToEncodedPoint;

/// A `p256tag` stanza with this point and body, addressed to `recipient`: the tag is public arithmetic.
pub fn stanza(point: &Point, body: &[u8], recipient: &TaggedRecipient) -> Stanza {
    let name =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &recipient.point().compressed());
    let label = b"age-encryption.org/p256tag";
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, label);
    let ikm = [point.uncompressed().as_slice(), &name.as_ref()[..4]].concat();
    let tag = aws_lc_rs::hmac::sign(&key, &ikm);
    let arguments = vec![
        "p256tag".to_owned(),
        base64(&tag.as_ref()[..4]),
        base64(point.uncompressed()),
    ];
    Stanza::new(arguments, body.to_vec()).unwrap()
}

pub fn projective(point: &Point) -> ProjectivePoint {
    p256::PublicKey::from_sec1_bytes(point.uncompressed())
        .unwrap()
        .to_projective()
}

pub fn from_projective(point: ProjectivePoint) -> Point {
    Point::from_uncompressed(point.to_affine().to_encoded_point(false).as_bytes()).unwrap()
}

pub fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::prelude::BASE64_STANDARD_NO_PAD.encode(bytes)
}
