use super::*;

fn account(row: Value) -> wire::Customer {
    serde_json::from_value(row).unwrap()
}

#[test]
fn a_customer_is_read_from_account_and_billing() {
    let read = read(&account(json!({
        "id": 65, "email": "Max@Example.DE", "first_name": "Max", "last_name": "M&uuml;ller", "username": "max",
        "billing": {"first_name": "Max", "last_name": "Müller", "company": "Müller & Co", "address_1": "Hauptstraße 7",
            "address_2": "", "city": "Köln", "postcode": "50667", "country": "DE", "state": "DE-NW", "phone": "1",
            "email": "other@example.com"},
        "shipping": {"first_name": "Eva", "last_name": "", "address_1": "Ring 1", "country": "DE"},
        "meta_data": [{"id": 1, "key": "vat_number", "value": "DE123456789"}],
    })))
    .unwrap();

    assert_eq!(
        Content::Customer(read).to_json(),
        json!({
            "name": "Max Müller", "email": "max@example.de", "phone": "1", "company": "Müller & Co",
            "tax_number": "DE123456789",
            "billing": {"street": "Hauptstraße 7", "city": "Köln", "postcode": "50667", "state": "DE-NW",
                "country": "DE"},
            "shipping": {"name": "Eva", "street": "Ring 1", "country": "DE"},
        })
    );
}

#[test]
fn someone_without_a_name_goes_by_what_there_is() {
    let name = |row: Value| read(&account(row)).unwrap().name;

    assert_eq!(
        name(json!({"username": "u", "billing": {"first_name": "B", "last_name": " C "}})),
        "B C"
    );
    assert_eq!(name(json!({"username": "u", "billing": {"company": "Co"}})), "Co");
    assert_eq!(name(json!({"username": "u"})), "u");
}

#[test]
fn an_address_of_name_phone_and_email_is_none() {
    let read = read(&account(json!({
        "username": "u", "billing": {"first_name": "Eva", "phone": "555", "email": "e@example.com"},
    })))
    .unwrap();

    assert_eq!((read.billing, read.phone.as_deref()), (None, Some("555")));
}

#[test]
fn an_invented_email_is_none_and_an_unfit_one_is_told() {
    let with = |email: &str| read(&account(json!({"username": "u", "email": email})));

    assert_eq!(with("partner-42@no-email.invalid").unwrap().email, None);
    assert_eq!(
        with("root@localhost").unwrap_err().to_string(),
        "`email` must be an e-mail address, not `root@localhost`"
    );
}

fn ann() -> Customer {
    Customer {
        name: "Ann Lee".to_owned(),
        email: Some("ann@example.com".to_owned()),
        phone: None,
        company: None,
        tax_number: None,
        billing: None,
        shipping: None,
        is_active: true,
        language: None,
    }
}

#[test]
fn what_an_account_cant_hold_is_left_out() {
    let named = Address {
        name: Some("Somebody".to_owned()),
        ..Address::default()
    };
    let own = Address {
        name: Some("Ann Lee".to_owned()),
        city: Some("Rome".to_owned()),
        ..Address::default()
    };
    let customer = Customer {
        is_active: false,
        billing: Some(named),
        shipping: Some(own),
        ..ann()
    };

    let projected = project(&customer);

    assert!(projected.is_active && projected.billing.is_none());
    assert_eq!(projected.shipping.unwrap().name, None);
}

#[test]
fn an_email_beyond_ascii_is_refused() {
    let umlaut = Customer {
        email: Some("jürgen@example.de".to_owned()),
        ..ann()
    };

    assert_eq!(refuses(&umlaut).unwrap().code, "unfit_email");
    assert_eq!(refuses(&ann()), None);
}

#[test]
fn a_new_account_gets_a_login_that_fits_and_no_empty_fields() {
    let record: RecordId = "0198c0de-0000-7000-8000-000000000001".parse().unwrap();
    let long = Customer {
        email: Some(format!("{}@example.com", "a".repeat(61))),
        ..ann()
    };

    assert_eq!(
        create_body(&long, record, Welcome::Mailed)["username"],
        login(record)
    );
    assert_eq!(
        Value::Object(create_body(&ann(), record, Welcome::Mailed)),
        json!({
            "email": "ann@example.com", "first_name": "Ann", "last_name": "Lee",
            "billing": {"first_name": "Ann", "last_name": "Lee", "email": "ann@example.com"},
            "meta_data": [{"key": "lockstep_record", "value": record.to_string()}],
        })
    );
}

#[test]
fn a_silent_account_is_made_under_names_of_ours_alone() {
    let record: RecordId = "0198c0de-0000-7000-8000-000000000001".parse().unwrap();

    let body = create_body(&ann(), record, Welcome::Silent);

    assert_eq!(body["username"], "0198c0de000070008000000000000001");
    assert_eq!(body["email"], "0198c0de000070008000000000000001@no-email.invalid");
    assert_eq!(body["billing"]["email"], "ann@example.com");
    let mut row = Value::Object(body);
    assert!(is_unaddressed(&account(row.clone()), record));
    row["meta_data"] = json!([]);
    assert!(!is_unaddressed(&account(row), record));
}

/// What a real store answered, where it lies beside the workspace.
#[test]
fn recorded_customers_are_read_and_would_not_be_written_again() {
    let Some(recorded) = super::super::tests::recorded() else {
        return;
    };
    let mut names = Vec::new();

    for row in recorded["customers"].as_array().unwrap() {
        let theirs = theirs(&account(row.clone()));
        let Ok(Content::Customer(read)) = theirs.content else {
            panic!("{row}: {:?}", theirs.content)
        };
        assert_eq!(project(&read), read);
        assert_eq!(read.shipping, None, "a copy of the billing address is none");
        names.push(read.name);
    }

    names.sort();
    assert_eq!(names.len(), 7);
    assert!(
        names.contains(&"Zoë Ångström".to_owned()) && names.contains(&"admin".to_owned()),
        "{names:?}"
    );
}
