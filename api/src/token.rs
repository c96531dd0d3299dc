//! Bearer tokens: JSON Web Tokens (RFC 7519) that say who asks, for which organisation, and in which role. They are signed
//! with a secret that we share (HS256), or by an issuer whose public keys we read (RS256, ES256, EdDSA). The key decides
//! which algorithm counts, after RFC 8725, section 3.1: what a token says of itself only finds the key.

use chrono::{DateTime, Duration, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use lockstep_shared::id::OrgId;
use lockstep_shared::role::Role;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::config::Jwt;
use crate::jwks::{Jwks, Unavailable};

/// Seconds by which the clocks of who issues and who checks may differ.
const LEEWAY_SECS: u64 = 30;
/// Longest name of a caller, in characters.
const SUBJECT_LIMIT: usize = 200;
/// Longest key id, in bytes.
const KEY_ID_LIMIT: usize = 200;
/// How the audit trail names API keys; no token may call itself so.
pub(crate) const API_KEY_ACTOR: &str = "api-key:";
/// How the audit trail names what is done by a command of the program.
pub(crate) const OPERATOR_ACTOR: &str = "command";
/// How the audit trail names what workers do.
const WORKER_ACTOR: &str = "worker";

/// Who asks, as a token that holds says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub org: OrgId,
    /// The user or program; what the audit trail names.
    pub subject: String,
    /// What it may do; the issuer of its token vouches for it.
    pub role: Role,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    org: OrgId,
    role: Role,
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
    #[error("the token is not signed with an algorithm that is taken here")]
    Algorithm,
    #[error("the token's key (`kid`) is not one of its issuer's")]
    Key,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token is not from the issuer or not for the audience that is expected")]
    Party,
    #[error("the token lacks a claim: `sub`, `org` (a UUID), `role` and `exp` are needed")]
    Claims,
    #[error("the token can't be read")]
    Malformed,
    /// Not the token's fault.
    #[error("the keys of the token's issuer can't be read for the moment")]
    Unavailable,
}

/// Why a token could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error("`LOCKSTEP_JWT_SECRET` is not set: only the issuer can sign tokens")]
    NoSecret,
    #[error("the token could not be signed")]
    Signing(#[source] jsonwebtoken::errors::Error),
}

/// Signs a token.
pub fn issue(
    jwt: &Jwt,
    caller: &Caller,
    now: DateTime<Utc>,
    valid_for: Duration,
) -> Result<String, IssueError> {
    let secret = jwt.secret.as_ref().ok_or(IssueError::NoSecret)?;
    let issued = Issued {
        claims: Claims {
            sub: caller.subject.clone(),
            org: caller.org,
            role: caller.role,
            exp: (now + valid_for).timestamp(),
            iat: Some(now.timestamp()),
            iss: jwt.issuer.clone(),
        },
        aud: jwt.audience.clone(),
    };
    let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &issued, &key).map_err(IssueError::Signing)
}

/// Checks tokens.
pub(crate) struct Checker {
    secret: Option<DecodingKey>,
    jwks: Option<Jwks>,
    issuer: Option<String>,
    audience: Option<String>,
}

impl std::fmt::Debug for Checker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checker").finish_non_exhaustive()
    }
}

impl Checker {
    pub(crate) fn new(jwt: &Jwt) -> Result<Self, reqwest::Error> {
        let secret = jwt.secret.as_ref();
        Ok(Self {
            secret: secret.map(|secret| DecodingKey::from_secret(secret.expose_secret().as_bytes())),
            jwks: jwt.jwks.clone().map(Jwks::new).transpose()?,
            issuer: jwt.issuer.clone(),
            audience: jwt.audience.clone(),
        })
    }

    /// Says who a token speaks for. Whether the organisation is known is for the database to say.
    pub(crate) async fn check(&self, token: &str) -> Result<Caller, TokenError> {
        // Apart, because a header that can't be read and claims that can't are the same error.
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
        if header.crit.is_some() {
            // RFC 7515, section 4.1.11: what is critical and not understood is refused.
            return Err(TokenError::Malformed);
        }
        let claims = match (header.alg, &self.secret, &self.jwks) {
            (Algorithm::HS256, Some(secret), _) => self.decode(token, secret, Algorithm::HS256)?,
            (Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA, _, Some(jwks)) => {
                let kid = header.kid.filter(|kid| kid.len() <= KEY_ID_LIMIT);
                let key = jwks
                    .find(&kid.ok_or(TokenError::Key)?)
                    .await
                    .map_err(|Unavailable| TokenError::Unavailable)?
                    .ok_or(TokenError::Key)?;
                self.decode(token, &key.decoding, key.algorithm)?
            }
            _ => return Err(TokenError::Algorithm),
        };
        let subject = claims.sub.trim();
        if subject.is_empty() || subject.chars().count() > SUBJECT_LIMIT || subject.contains('\0') {
            return Err(TokenError::Claims);
        }
        if [WORKER_ACTOR, OPERATOR_ACTOR].contains(&subject) || subject.starts_with(API_KEY_ACTOR) {
            // Nobody passes for somebody else in the audit trail.
            return Err(TokenError::Claims);
        }
        Ok(Caller {
            org: claims.org,
            subject: subject.to_owned(),
            role: claims.role,
        })
    }

    fn decode(&self, token: &str, key: &DecodingKey, algorithm: Algorithm) -> Result<Claims, TokenError> {
        let decoded = jsonwebtoken::decode::<Claims>(token, key, &self.validation(algorithm));
        Ok(decoded.map_err(|error| reason(error.kind()))?.claims)
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_SECS;
        validation.validate_nbf = true;
        validation.validate_aud = self.audience.is_some();
        let mut required = vec!["exp", "sub"];
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        if let Some(audience) = &self.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        validation
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
        Jwt::of_secret(SECRET.to_owned().into())
    }

    fn caller() -> Caller {
        Caller {
            org: OrgId(Uuid::from_u128(7)),
            subject: "ada".to_owned(),
            role: Role::Operator,
        }
    }

    async fn check(jwt: &Jwt, token: &str) -> Result<Caller, TokenError> {
        Checker::new(jwt).unwrap().check(token).await
    }

    fn claims() -> Value {
        json!({
            "sub": "ada",
            "org": Uuid::from_u128(7),
            "role": "operator",
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

    #[tokio::test]
    async fn a_token_that_was_issued_holds() {
        let jwt = Jwt {
            issuer: Some("https://login.example.com".to_owned()),
            audience: Some("lockstep".to_owned()),
            ..jwt()
        };

        let token = issue(&jwt, &caller(), Utc::now(), Duration::hours(1)).unwrap();

        assert_eq!(check(&jwt, &token).await, Ok(caller()), "R42");
    }

    #[tokio::test]
    async fn a_token_that_does_not_hold_is_refused_with_its_reason() {
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
            (hs256(&without("role")), TokenError::Claims),
            (hs256(&with(&json!({"role": "root"}))), TokenError::Claims),
            (hs256(&with(&json!({"sub": "worker"}))), TokenError::Claims),
            (hs256(&with(&json!({"sub": "api-key:7"}))), TokenError::Claims),
            (hs256(&with(&json!({"org": "everyone"}))), TokenError::Claims),
            (hs256(&with(&json!({"sub": "  "}))), TokenError::Claims),
            ("not a token".to_owned(), TokenError::Malformed),
        ] {
            assert_eq!(check(&jwt(), &token).await, Err(reason), "R42: {token}");
        }
    }

    #[tokio::test]
    async fn a_configured_issuer_and_audience_must_be_named() {
        let jwt = Jwt {
            issuer: Some("https://login.example.com".to_owned()),
            audience: Some("lockstep".to_owned()),
            ..jwt()
        };
        let parties = async |iss: &str, aud: &str| {
            let claims = with(&json!({"iss": iss, "aud": [aud]}));
            check(&jwt, &signed(Algorithm::HS256, SECRET, &claims)).await
        };

        assert_eq!(
            parties("https://login.example.com", "lockstep").await,
            Ok(caller())
        );
        assert_eq!(
            parties("https://evil.example.com", "lockstep").await,
            Err(TokenError::Party)
        );
        assert_eq!(
            parties("https://login.example.com", "other").await,
            Err(TokenError::Party)
        );
        let neither = check(&jwt, &signed(Algorithm::HS256, SECRET, &claims())).await;
        assert_eq!(neither, Err(TokenError::Claims));
    }
}
