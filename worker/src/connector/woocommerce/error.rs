//! What WooCommerce's answers mean: for a whole call, and for one item of a batch.

use reqwest::StatusCode;
use serde_json::Value;

use super::SYSTEM;
use crate::connector::http::{Answer, cut};
use crate::connector::{CallError, Outcome, Reach, Refusal};

/// Whether a failed call can have done something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
}

impl Kind {
    const fn reach(self) -> Reach {
        match self {
            Self::Read => Reach::NoEffect,
            Self::Write => Reach::InDoubt,
        }
    }
}

/// Reads the body of an answer, or says why the whole call failed.
///
/// Status 500 of a write leaves it in doubt: a batch that ran out of time had made 69 of 100 products by then, and an
/// item that is no object stops a batch after the ones before it (facts/mapping-woocommerce.md §7).
pub(super) fn body(answer: &Answer, kind: Kind) -> Result<Value, CallError> {
    let json: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let status = answer.status;
    if status.is_success() {
        return json.ok_or_else(|| unwell("its answer is not JSON", kind));
    }
    let detail = words(status, json.as_ref());
    Err(match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => CallError::Unauthorised {
            system: SYSTEM,
            detail,
        },
        _ if status.is_server_error() => unwell(&detail, kind),
        StatusCode::REQUEST_TIMEOUT => unwell(&detail, kind),
        _ => CallError::Refused {
            system: SYSTEM,
            detail,
        },
    })
}

pub(super) fn unwell(detail: &str, kind: Kind) -> CallError {
    CallError::Unwell {
        system: SYSTEM,
        detail: detail.to_owned(),
        reach: kind.reach(),
    }
}

pub(super) fn refused(detail: &str) -> CallError {
    CallError::Refused {
        system: SYSTEM,
        detail: detail.to_owned(),
    }
}

/// Says whether an answer means that the server has no such route (facts/systems.md A2).
pub(super) fn is_missing_route(answer: &Answer) -> bool {
    answer.status == StatusCode::NOT_FOUND
        && serde_json::from_slice::<Value>(&answer.body).is_ok_and(|json| json["code"] == "rest_no_route")
}

fn words(status: StatusCode, json: Option<&Value>) -> String {
    let told = json.and_then(|json| Some((json.get("code")?.as_str()?, json.get("message")?.as_str()?)));
    match told {
        Some((code, message)) => cut(&format!("{code}: {}", super::text::plain(message))),
        None => format!("status {}", status.as_u16()),
    }
}

/// Reads the error of one item of a batch, where it has one: `{"id":0,"error":{"code","message","data"}}`
/// (facts/systems.md A9).
pub(super) fn of_item(item: &Value) -> Option<ItemError> {
    let error = item.get("error")?;
    let data = error.get("data").unwrap_or(&Value::Null);
    let resource = data.get("resource_id").and_then(Value::as_u64);
    Some(ItemError {
        refusal: Refusal {
            code: cut(error.get("code").and_then(Value::as_str).unwrap_or("unknown")),
            message: cut(&super::text::plain(
                error.get("message").and_then(Value::as_str).unwrap_or_default(),
            )),
        },
        // In the refunds' errors `data` is the status itself (facts/systems.md A2).
        status: data.get("status").or(Some(data)).and_then(Value::as_u64),
        resource: resource.filter(|id| *id > 0).map(|id| id.to_string()),
    })
}

/// The code of an address that an account can't be given.
pub(super) const UNFIT_EMAIL: &str = "woocommerce_rest_customer_invalid_email";

/// The code of a picture that can't be fetched.
const UNFETCHED: &str = "woocommerce_product_image_upload_error";

/// Why one item of a batch was not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ItemError {
    pub(super) refusal: Refusal,
    status: Option<u64>,
    /// The thing that has the unique value already.
    resource: Option<String>,
}

impl ItemError {
    /// Says whether the thing that was to be changed is not there: 404 or, for an update of a product, 400
    /// (facts/systems.md A2).
    pub(super) fn is_missing(&self) -> bool {
        matches!(
            self.refusal.code.as_str(),
            "woocommerce_rest_product_invalid_id"
                | "woocommerce_rest_shop_order_invalid_id"
                | "wc_user_invalid_id"
        )
    }

    /// Says whether an account can't have the address that it was given: another one has it, or it is none
    /// (facts/systems.md A5).
    pub(super) fn is_unfit_email(&self) -> bool {
        self.refusal.code == UNFIT_EMAIL
    }

    /// Returns what became of the write.
    ///
    /// An SKU in use is told in two ways: with the holder's id, and without it under a race or when the holder is in
    /// the trash. An e-mail address in use is told without an id, also as a user name that exists
    /// (facts/systems.md A5, A6).
    pub(super) fn outcome(self) -> Outcome {
        let is_taken = match self.refusal.code.as_str() {
            "product_invalid_sku"
            | "product_invalid_global_unique_id"
            | "registration-error-email-exists"
            | "registration-error-username-exists"
            | "existing_user_login" => true,
            "woocommerce_rest_product_not_created" => self.refusal.message.contains("lookup table"),
            _ => false,
        };
        if is_taken {
            return Outcome::Taken {
                external_id: self.resource,
                refusal: self.refusal,
            };
        }
        match self.status {
            // The same code for an address that is wrong and for a server that is down
            // (facts/mapping-woocommerce.md §1, «Images»).
            Some(_) if self.refusal.code == UNFETCHED => Outcome::Transient(self.refusal),
            Some(429 | 502..=504) => Outcome::Transient(self.refusal),
            // A 500 of one item is what that item brings about: it comes again (facts/systems.md A2).
            Some(_) | None => Outcome::Rejected(self.refusal),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: reqwest::header::HeaderMap::new(),
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn wrong_keys_are_unauthorised_in_the_shops_words() {
        let body_text = r#"{"code":"woocommerce_rest_authentication_error","message":"Consumer secret is invalid.","data":{"status":401}}"#;

        let error = body(&answer(401, body_text), Kind::Read).unwrap_err();

        assert_eq!(
            error.to_string(),
            "WooCommerce refuses the credentials: woocommerce_rest_authentication_error: Consumer secret is invalid."
        );
    }

    #[test]
    fn a_broken_server_leaves_a_write_in_doubt_and_a_read_not() {
        let critical = r#"{"code":"internal_server_error","message":"<p>There has been a critical error on this website.</p>","data":{"status":500}}"#;

        let reach = |kind| match body(&answer(500, critical), kind) {
            Err(CallError::Unwell { reach, detail, .. }) => {
                assert!(!detail.contains('<'), "{detail}");
                reach
            }
            other => panic!("{other:?}"),
        };

        assert_eq!(reach(Kind::Read), Reach::NoEffect);
        assert_eq!(reach(Kind::Write), Reach::InDoubt);
    }

    #[test]
    fn a_truncated_answer_leaves_a_write_in_doubt() {
        let error = body(&answer(200, r#"{"create":[{"id":1"#), Kind::Write).unwrap_err();

        assert!(matches!(
            error,
            CallError::Unwell {
                reach: Reach::InDoubt,
                ..
            }
        ));
    }

    #[test]
    fn a_refused_call_names_the_code() {
        let body_text = r#"{"code":"woocommerce_rest_request_entity_too_large","message":"Unable to accept more than 100 items for this request.","data":{"status":413}}"#;

        let error = body(&answer(413, body_text), Kind::Write).unwrap_err();

        assert_eq!(
            error.to_string(),
            "WooCommerce refuses the call: woocommerce_rest_request_entity_too_large: Unable to accept more than 100 items for this request."
        );
    }

    #[test]
    fn an_unknown_route_is_known() {
        let body_text = r#"{"code":"rest_no_route","message":"No route was found matching the URL and request method.","data":{"status":404}}"#;

        assert!(is_missing_route(&answer(404, body_text)));
        assert!(!is_missing_route(&answer(404, "<html>")));
    }

    fn outcome(code: &str, message: &str, data: &Value) -> Outcome {
        let item = json!({"id": 0, "error": {"code": code, "message": message, "data": data}});
        of_item(&item).unwrap().outcome()
    }

    #[test]
    fn an_sku_in_use_is_taken_by_the_thing_that_is_named() {
        let data = json!({"status": 400, "resource_id": 12, "unique_sku": "SKU-1-1"});

        let Outcome::Taken { external_id, refusal } =
            outcome("product_invalid_sku", "Invalid or duplicated SKU.", &data)
        else {
            panic!("not taken");
        };

        assert_eq!(external_id.as_deref(), Some("12"));
        assert_eq!(refusal.code, "product_invalid_sku");
    }

    #[test]
    fn an_sku_in_the_trash_and_an_email_in_use_are_taken_by_someone() {
        let data = json!({"status": 400});
        let lookup =
            "The product with SKU (X) you are trying to insert is already present in the lookup table";
        let email = "An account is already registered with c@example.com. Please log in or use a different email address.";

        for (code, message) in [
            ("woocommerce_rest_product_not_created", lookup),
            ("registration-error-email-exists", email),
            (
                "registration-error-username-exists",
                "An account is already registered with that username.",
            ),
            ("existing_user_login", "Sorry, that username already exists!"),
        ] {
            let taken = outcome(code, message, &data);
            assert!(
                matches!(
                    taken,
                    Outcome::Taken {
                        external_id: None,
                        ..
                    }
                ),
                "{code}: {taken:?}"
            );
        }
    }

    #[test]
    fn other_errors_of_an_item_are_rejections() {
        for (code, status) in [
            ("woocommerce_rest_product_invalid_id", 400),
            ("wc_user_invalid_id", 404),
            ("customer_invalid_email", 400),
            ("woocommerce_rest_cannot_create", 500),
        ] {
            let rejected = outcome(code, "no", &json!({"status": status}));
            assert!(matches!(rejected, Outcome::Rejected(_)), "{code}: {rejected:?}");
        }
        assert!(matches!(
            outcome("x", "busy", &json!({"status": 503})),
            Outcome::Transient(_)
        ));
        assert!(matches!(
            outcome(UNFETCHED, "Not Found", &json!({"status": 400})),
            Outcome::Transient(_)
        ));
        assert_eq!(of_item(&json!({"id": 4})), None);
    }
}
