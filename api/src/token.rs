//! Bearer tokens: JSON Web Tokens signed with HS256 (RFC 7519) that say who asks, and for which organisation.

use chrono::{DateTime, Duration, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use lockstep_shared::id::OrgId;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::config::Jwt;

/// Seconds by which the clocks of who issues and who checks may differ.
const LEEWAY_SECS: u64 = 30;
/// Longest name of a caller, in characters.
const SUBJECT_LIMIT: usize = 200;

/// Who asks, as a token that holds says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub org: OrgId,
    /// The user or program; what the audit trail names.
    pub subject: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    org: OrgId,
    exp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
}

/// Claims as they are issued. Apart from what is read, because a token of others may name many audiences.
#[derive(Debug, Serialize)]
struct Issued {
    #[serde(flatten)]
    claims: Claims,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<String>,
}

/// Why a token does not hold. Safe to show: it tells nothing that its bearer could not read in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the token must be signed with HS256")]
    Algorithm,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token is not from the issuer or not for the audience that is expected")]
    Party,
    #[error("the token lacks a claim: `sub`, `org` (a UUID) and `exp` are needed")]
    Claims,
    #[error("the token can't be read")]
    Malformed,
}

/// Signs a token.
pub fn issue(
    jwt: &Jwt,
    caller: &Caller,
    now: DateTime<Utc>,
    valid_for: Duration,
) -> Result<String, jsonwebtoken::errors::Error> {
    let issued = Issued {
        claims: Claims {
            sub: caller.subject.clone(),
            org: caller.org,
            exp: (now + valid_for).timestamp(),
            iat: Some(now.timestamp()),
            iss: jwt.issuer.clone(),
        },
        aud: jwt.audience.clone(),
    };
    let key = EncodingKey::from_secret(jwt.secret.expose_secret().as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &issued, &key)
}

/// Checks tokens.
#[derive(Clone)]
pub(crate) struct Checker {
    key: DecodingKey,
    validation: Validation,
}

impl std::fmt::Debug for Checker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checker").finish_non_exhaustive()
    }
}

impl Checker {
    pub(crate) fn new(jwt: &Jwt) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY_SECS;
        validation.validate_nbf = true;
        validation.validate_aud = jwt.audience.is_some();
        let mut required = vec!["exp", "sub"];
        if let Some(issuer) = &jwt.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        if let Some(audience) = &jwt.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        Self {
            key: DecodingKey::from_secret(jwt.secret.expose_secret().as_bytes()),
            validation,
        }
    }

    /// Says who a token speaks for. Whether the organisation is known is for the database to say.
    pub(crate) fn check(&self, token: &str) -> Result<Caller, TokenError> {
        // Apart, because a header that can't be read and claims that can't are the same error.
        jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation)
            .map_err(|error| reason(error.kind()))?
            .claims;
        let subject = claims.sub.trim();
        if subject.is_empty() || subject.chars().count() > SUBJECT_LIMIT || subject.contains('\0') {
            return Err(TokenError::Claims);
        }
        Ok(Caller {
            org: claims.org,
            subject: subject.to_owned(),
        })
    }
}

fn reason(kind: &jsonwebtoken::errors::ErrorKind) -> TokenError {
    use jsonwebtoken::errors::ErrorKind;

    match kind {
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::NotYet,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName | ErrorKind::MissingAlgorithm => {
            TokenError::Algorithm
        }
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::InvalidIssuer | ErrorKind::InvalidAudience => TokenError::Party,
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::Json(_) | ErrorKind::InvalidSubject => {
            TokenError::Claims
        }
        _ => TokenError::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;

    const SECRET: &str = "an-hs256-secret-of-at-least-32-bytes";

    fn jwt() -> Jwt {
        Jwt {
            secret: SECRET.to_owned().into(),
            issuer: None,
            audience: None,
        }
    }

    fn caller() -> Caller {
        Caller {
            org: OrgId(Uuid::from_u128(7)),
            subject: "ada".to_owned(),
        }
    }

    fn claims() -> Value {
        json!({
            "sub": "ada",
            "org": Uuid::from_u128(7),
            "exp": (Utc::now() + Duration::hours(1)).timestamp(),
        })
    }

    fn with(changes: &Value) -> Value {
        let mut claims = claims();
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }

    fn without(name: &str) -> Value {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        claims
    }

    fn signed(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
        let key = EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
    }

    fn unsigned(claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!(
            "{}.{}.",
            part(&json!({"alg": "none", "typ": "JWT"})),
            part(claims)
        )
    }

    #[test]
    fn a_token_that_was_issued_holds() {
        let jwt = Jwt {
            issuer: Some("https://login.example.com".to_owned()),
            audience: Some("lockstep".to_owned()),
            ..jwt()
        };

        let token = issue(&jwt, &caller(), Utc::now(), Duration::hours(1)).unwrap();

        assert_eq!(Checker::new(&jwt).check(&token), Ok(caller()), "R42");
    }

    #[test]
    fn a_token_that_does_not_hold_is_refused_with_its_reason() {
        let hour = |hours| (Utc::now() + Duration::hours(hours)).timestamp();
        let hs256 = |claims: &Value| signed(Algorithm::HS256, SECRET, claims);
        for (token, reason) in [
            (hs256(&with(&json!({"exp": hour(-1)}))), TokenError::Expired),
            (hs256(&with(&json!({"nbf": hour(1)}))), TokenError::NotYet),
            (
                signed(
                    Algorithm::HS256,
                    "another-secret-of-at-least-32-bytes!",
                    &claims(),
                ),
                TokenError::Signature,
            ),
            (signed(Algorithm::HS512, SECRET, &claims()), TokenError::Algorithm),
            (unsigned(&claims()), TokenError::Malformed),
            (hs256(&without("org")), TokenError::Claims),
            (hs256(&without("exp")), TokenError::Claims),
            (hs256(&without("sub")), TokenError::Claims),
            (hs256(&with(&json!({"org": "everyone"}))), TokenError::Claims),
            (hs256(&with(&json!({"sub": "  "}))), TokenError::Claims),
            ("not a token".to_owned(), TokenError::Malformed),
        ] {
            assert_eq!(Checker::new(&jwt()).check(&token), Err(reason), "{token}");
        }
    }

    #[test]
    fn a_configured_issuer_and_audience_must_be_named() {
        let jwt = Jwt {
            issuer: Some("https://login.example.com".to_owned()),
            audience: Some("lockstep".to_owned()),
            ..jwt()
        };
        let parties = |iss: &str, aud: &str| {
            let claims = with(&json!({"iss": iss, "aud": [aud]}));
            Checker::new(&jwt).check(&signed(Algorithm::HS256, SECRET, &claims))
        };

        assert_eq!(parties("https://login.example.com", "lockstep"), Ok(caller()));
        assert_eq!(
            parties("https://evil.example.com", "lockstep"),
            Err(TokenError::Party)
        );
        assert_eq!(
            parties("https://login.example.com", "other"),
            Err(TokenError::Party)
        );
        let neither = Checker::new(&jwt).check(&signed(Algorithm::HS256, SECRET, &claims()));
        assert_eq!(neither, Err(TokenError::Claims));
    }
}
