//! What to do about each finding of a diagnosis.
//!
//! It must not find anything itself.

use crate::signature::diagnosis::{Change, Finding, FixedSpelling, FixedTrouble, Shape, TokenTrouble};

/// What to do about the findings, each piece of advice once.
pub(super) fn hints(findings: &[Finding]) -> Vec<&'static str> {
    let mut hints = Vec::new();
    for finding in findings {
        match finding {
            Finding::WouldMatch { changes, .. } => hints.extend(changes.iter().map(remedy)),
            finding => hints.extend(advice(finding)),
        }
    }
    let mut said = Vec::new();
    hints.retain(|hint| {
        let is_new = !said.contains(hint);
        said.push(hint);
        is_new
    });
    hints
}

fn advice(finding: &Finding) -> Option<&'static str> {
    Some(match finding {
        Finding::HeaderMissing { .. } | Finding::PartMissing { .. } => {
            "pass every header of the request with `--header`; a proxy that drops unknown headers has to let this one through"
        }
        Finding::ParameterMissing { .. } => {
            "give the URL with its query (`--url`) and the whole body; some gateways sign only after it was switched on with them"
        }
        Finding::HeaderRepeated { .. } => "let the proxy pass the gateway's header through and add none of its own",
        Finding::Malformed { shape, .. } | Finding::ParameterMalformed { shape, .. } => return about_shape(*shape),
        Finding::Timestamp(_) => "pass the timestamp's header with `--header` too",
        Finding::Clock { .. } | Finding::ClockToo { .. } => MEND_CLOCK,
        Finding::TimestampUnit { .. } | Finding::TimestampShape(_) => {
            "set `timestamp_unit` in a gateway of your own, or have the gateway send whole Unix times"
        }
        Finding::EmptyBody => "give the body byte for byte, for instance with `--body delivery.json`",
        Finding::Compressed | Finding::Decompressed(_) => {
            "switch compression off at the proxy for this path: smshook has to get the bytes as the gateway sent them"
        }
        Finding::BodyHash { .. } => MEND_BODY,
        Finding::OtherSecret { .. } => {
            "give the gateway the secret of this endpoint, or add the one that it has to the endpoint's `secrets`"
        }
        Finding::Token(trouble) => about_token(trouble),
        Finding::Fixed(trouble) => about_fixed(trouble),
        Finding::Account { .. } => "take the secret of the account that the number belongs to",
        Finding::NoUrl => MEND_URL,
        Finding::Exhausted => "capture a smaller delivery, such as a text of one word",
        Finding::Unexplained => {
            "copy the secret from the gateway again, and capture the body before anything parses it"
        }
        Finding::UnexplainedToken => "copy the secret from the gateway again",
        Finding::UnexplainedWithUrl => {
            "copy the secret from the gateway again, compare `public_url` with the URL that is configured at the gateway, \
             letter by letter, and capture the body before anything parses it"
        }
        Finding::Verifies { .. }
        | Finding::HeaderElsewhere { .. }
        | Finding::OtherwiseRight { .. }
        | Finding::Refused(_)
        | Finding::WouldMatch { .. } => return None,
    })
}

const fn about_shape(shape: Shape) -> Option<&'static str> {
    match shape {
        Shape::Prefix | Shape::Key => {
            Some("see `prefix` and `keys` of the gateway's file, and what the gateway really sends")
        }
        Shape::Length(_) => Some(
            "pass the value whole; should the gateway sign with another algorithm, say which beside the secret, as in \
             `secrets = [{ env = \"X\", algorithm = \"hmac-sha512\" }]`",
        ),
        Shape::NoToken => {
            Some("pass the header whole; this gateway sends a JSON Web Token, three parts with dots between")
        }
        Shape::Empty
        | Shape::NotAscii
        | Shape::Joined
        | Shape::Quoted
        | Shape::Blank
        | Shape::UpperCase
        | Shape::OtherEncoding => None,
    }
}

const fn about_token(trouble: &TokenTrouble) -> &'static str {
    match trouble {
        TokenTrouble::Algorithm { .. } => MEND_ALGORITHM,
        TokenTrouble::UnknownAlgorithm | TokenTrouble::Unsigned => "have the gateway sign with HS256, HS384 or HS512",
        TokenTrouble::Expired(_) | TokenTrouble::NotYet(_) | TokenTrouble::Age { .. } => MEND_CLOCK,
        TokenTrouble::NoClaim(_) | TokenTrouble::Issuer => MEND_GATEWAY,
        TokenTrouble::Audience(_) | TokenTrouble::Url { .. } => MEND_URL,
        TokenTrouble::Body { .. } | TokenTrouble::BodyClaim(_) => MEND_BODY,
    }
}

const fn about_fixed(trouble: &FixedTrouble) -> &'static str {
    match trouble {
        FixedTrouble::Spelling(FixedSpelling::Configured) => MEND_SECRET,
        FixedTrouble::Spelling(_) => {
            "correct it at the gateway: it has to be written as the scheme says, prefix and all"
        }
        FixedTrouble::User | FixedTrouble::Password => "the secret is `user:password`: correct the half that differs",
        FixedTrouble::Other => "copy the secret from the configuration to the gateway again",
    }
}

const MEND_SECRET: &str = "correct the secret where it is configured (or at the gateway, if its copy is the wrong one)";
const MEND_BODY: &str = "something changed the body: a proxy or middleware in front of smshook, or the way this copy was made \
     (an editor adds a line end); smshook has to get the bytes as the gateway sent them";
const MEND_GATEWAY: &str = "if every delivery is like that, the gateway signs otherwise than its file says: set that key in a \
     `[gateway.NAME]` of your own";
const MEND_ENCODING: &str = "set that `secret_encoding` at the endpoint";
const MEND_ALGORITHM: &str = "say that `algorithm` beside the secret, as in `secrets = [{ env = \"X\", algorithm = \"hmac-sha512\" }]`, if it is meant";
const MEND_URL: &str = "set `public_url` at the endpoint to the URL that is configured at the gateway, letter by letter, \
     without its query";
const MEND_CLOCK: &str = "compare the clocks of both sides (`timedatectl`); for a delivery captured earlier say with `--at` when it \
     was received; a gateway that repeats deliveries with their first time needs a longer `tolerance` at the endpoint";

const fn remedy(change: &Change) -> &'static str {
    match change {
        Change::SecretTrimmed
        | Change::SecretUnquoted
        | Change::SecretLineEnd
        | Change::SecretBlank
        | Change::SecretWithoutPrefix
        | Change::SecretWithPrefix => MEND_SECRET,
        Change::SecretUtf8 | Change::SecretWhsec | Change::SecretBase64 | Change::SecretHex => MEND_ENCODING,
        Change::BodyTrimmed
        | Change::BodyLineEnd
        | Change::BodyCrlf
        | Change::BodyLf
        | Change::BodyWithoutBom
        | Change::BodyCompact
        | Change::BodySpaced
        | Change::BodyIndented
        | Change::BodySorted
        | Change::BodySlashes
        | Change::BodySlashesEscaped
        | Change::BodyEscaped
        | Change::BodyUnescaped
        | Change::BodyLatin1
        | Change::BodyUtf8
        | Change::BodyForm
        | Change::BodyFormOfJson
        | Change::BodyJsonOfForm
        | Change::BodyOfField
        | Change::BodyOfJsonText
        | Change::BodyPercentDecoded
        | Change::BodyBase64
        | Change::BodyEmpty => MEND_BODY,
        Change::Spelling
        | Change::Header(_)
        | Change::ContentBody
        | Change::ContentBodyTimestamp
        | Change::ContentTimestampBody
        | Change::Content(_)
        | Change::TimestampOf(_)
        | Change::TimestampSeconds
        | Change::TimestampMilliseconds => MEND_GATEWAY,
        Change::Url(_) => MEND_URL,
        Change::Algorithm(_) => MEND_ALGORITHM,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_piece_of_advice_is_given_once() {
        let changes = vec![Change::BodyTrimmed, Change::BodyLf, Change::SecretTrimmed];
        let findings = [
            Finding::WouldMatch {
                secret: "env A".to_owned(),
                changes,
            },
            Finding::EmptyBody,
        ];
        assert_eq!(hints(&findings).len(), 3);
        let right = Finding::Verifies {
            secret: "env A".to_owned(),
        };
        assert_eq!(hints(&[right]), Vec::<&str>::new());
    }
}
