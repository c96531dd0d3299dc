//! The traps of the real ERP, through real HTTP.

mod company;
mod credit_note;
mod payment;
mod product;
mod recorded;
mod stock;

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Erp, ErpOptions};
use crate::fault::Fault;

pub(super) struct Office {
    pub(super) erp: Erp,
    client: reqwest::Client,
}

impl Office {
    pub(super) async fn open() -> Self {
        Self::with(ErpOptions::default()).await
    }

    pub(super) async fn with(options: ErpOptions) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap();
        Self {
            erp: Erp::start(options).await.unwrap(),
            client,
        }
    }

    fn request(&self, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}/json/2/{path}", self.erp.base_url());
        self.client
            .request(Method::POST, url)
            .header("authorization", "bearer sandbox-api-key")
    }

    pub(super) async fn call(&self, path: &str, body: Value) -> (u16, Value) {
        answer(self.request(path).json(&body)).await
    }

    pub(super) async fn ok(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(path, body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    pub(super) async fn load(&self, model: &str, fields: Value, data: Value) -> Value {
        self.ok(&format!("{model}/load"), json!({"fields": fields, "data": data}))
            .await
    }

    pub(super) async fn rpc(&self, service: &str, method: &str, args: Value) -> Value {
        let params = json!({"service": service, "method": method, "args": args});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "call", "params": params});
        let (status, answer) = answer(
            self.client
                .post(format!("{}/jsonrpc", self.erp.base_url()))
                .json(&body),
        )
        .await;
        assert_eq!(status, 200);
        answer
    }

    pub(super) async fn execute(&self, model: &str, method: &str, args: Value) -> Value {
        let args = json!(["sandbox", 2, "sandbox-password", model, method, args, {}]);
        self.rpc("object", "execute_kw", args).await
    }

    pub(super) async fn read(&self, model: &str, id: &Value, fields: Value) -> Value {
        self.ok(&format!("{model}/read"), json!({"ids": [id], "fields": fields}))
            .await[0]
            .clone()
    }

    pub(super) async fn count(&self, model: &str, domain: Value) -> u64 {
        self.ok(&format!("{model}/search_count"), json!({"domain": domain}))
            .await
            .as_u64()
            .unwrap()
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (
        status,
        serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default(),
    )
}

pub(super) fn message(answer: &Value) -> &str {
    answer["messages"][0]["message"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn json_2_takes_the_key_and_not_the_password() {
    let office = Office::open().await;
    let url = format!("{}/json/2/res.partner/search_count", office.erp.base_url());
    let body = json!({"domain": []});
    let with = |header: &str| {
        office
            .client
            .post(&url)
            .header("authorization", header)
            .json(&body)
    };

    let nobody = answer(office.client.post(&url).json(&body)).await;
    let password = answer(with("bearer sandbox-password")).await;
    let key = answer(with("Bearer sandbox-api-key")).await;
    let elsewhere = answer(with("bearer sandbox-api-key").header("X-Odoo-Database", "nodb")).await;

    assert_eq!(
        (nobody.0, nobody.1["name"].as_str()),
        (401, Some("werkzeug.exceptions.Unauthorized"))
    );
    assert_eq!(
        (password.0, password.1["message"].as_str()),
        (401, Some("Invalid apikey"))
    );
    assert_eq!(key, (200, json!(2)));
    assert_eq!(elsewhere.0, 404);
}

#[tokio::test]
async fn every_error_has_its_status_in_json_2() {
    let office = Office::open().await;
    let cases = [
        (
            "res.partner/create",
            json!({"vals_list": [{}]}),
            422,
            "odoo.exceptions.ValidationError",
        ),
        (
            "res.partner/create",
            json!({"vals_list": [{"nofield": 1}]}),
            500,
            "builtins.ValueError",
        ),
        (
            "product.template/create",
            json!({"vals_list": [{"name": "x", "type": "bogus"}]}),
            500,
            "builtins.ValueError",
        ),
        (
            "res.partner/write",
            json!({"ids": [99_999], "vals": {"name": "x"}}),
            404,
            "odoo.exceptions.MissingError",
        ),
        (
            "res.partner/unlink",
            json!({"ids": [99_999]}),
            404,
            "odoo.exceptions.MissingError",
        ),
        (
            "res.partner/search_read",
            json!({"domain": [["bogus", "=", 1]]}),
            500,
            "builtins.ValueError",
        ),
        (
            "res.partner/search_read",
            json!({"bogus": 1}),
            500,
            "builtins.TypeError",
        ),
        ("res.partner/search_count", json!({}), 422, "builtins.TypeError"),
        (
            "res.partner/search",
            json!({"ids": [1], "domain": []}),
            422,
            "werkzeug.exceptions.UnprocessableEntity",
        ),
        (
            "no.model/search",
            json!({"domain": []}),
            404,
            "werkzeug.exceptions.NotFound",
        ),
        (
            "res.partner/nomethod",
            json!({}),
            404,
            "werkzeug.exceptions.NotFound",
        ),
        (
            "res.partner/exists",
            json!({"ids": [1]}),
            403,
            "odoo.exceptions.AccessError",
        ),
    ];

    for (path, body, status, name) in cases {
        let (found, answer) = office.call(path, body).await;
        assert_eq!(
            (found, answer["name"].as_str().unwrap()),
            (status, name),
            "{path}: {answer}"
        );
    }
    let unknown = office
        .call("res.partner/search_read", json!({"domain": [["bogus", "=", 1]]}))
        .await
        .1;
    assert_eq!(
        unknown["message"],
        "Invalid field res.partner.bogus in condition ('bogus', '=', 1)"
    );
    assert_eq!(
        office
            .ok("res.partner/read", json!({"ids": [99_999], "fields": ["name"]}))
            .await,
        json!([])
    );
}

#[tokio::test]
async fn json_rpc_answers_200_and_tells_by_name() {
    let office = Office::open().await;

    let wrong = office
        .rpc("common", "authenticate", json!(["sandbox", "admin", "bad", {}]))
        .await;
    let by_key = office
        .rpc(
            "common",
            "authenticate",
            json!(["sandbox", "admin", "sandbox-api-key", {}]),
        )
        .await;
    let denied = office
        .rpc(
            "object",
            "execute_kw",
            json!(["sandbox", 2, "bad", "res.partner", "search", [[]], {}]),
        )
        .await;
    let no_database = office
        .rpc("common", "login", json!(["nodb", "admin", "bad"]))
        .await;
    let no_model = office.execute("no.model", "search", json!([[]])).await;
    let one = office
        .execute("res.partner", "create", json!([{"name": "One"}]))
        .await;
    let list = office
        .execute("res.partner", "create", json!([[{"name": "Two"}]]))
        .await;

    assert_eq!(wrong["result"], json!(false));
    assert_eq!(by_key["result"], 2);
    assert_eq!(denied["error"]["data"]["name"], "odoo.exceptions.AccessDenied");
    assert_eq!(no_database["error"]["data"]["name"], "psycopg2.OperationalError");
    assert_eq!(
        no_model["error"]["data"]["message"],
        "Object no.model doesn't exist"
    );
    assert_eq!(no_model["error"]["code"], 0);
    assert!(one["result"].is_i64() && list["result"].is_array());
}

#[tokio::test]
async fn below_19_there_is_no_json_2() {
    let office = Office::with(ErpOptions {
        major_version: 17,
        ..ErpOptions::default()
    })
    .await;

    let json_2 = office
        .call("res.partner/search_count", json!({"domain": []}))
        .await;
    let web = answer(
        office
            .client
            .get(format!("{}/web/version", office.erp.base_url())),
    )
    .await;
    let version = office.rpc("common", "version", json!([])).await;

    assert_eq!((json_2.0, web.0), (404, 404));
    assert_eq!(version["result"]["server_version"], "17.0");
    let current = Office::open().await;
    let web = answer(
        current
            .client
            .get(format!("{}/json/version", current.erp.base_url())),
    )
    .await;
    assert_eq!(web.1["version_info"], json!([19, 0, 0, "final", 0, ""]));
}

#[tokio::test]
async fn a_user_without_the_right_may_read_and_not_create() {
    let office = Office::open().await;
    office.erp.add_user("limited", "limited-key", false);
    let url = |path: &str| format!("{}/json/2/{path}", office.erp.base_url());
    let with = |path: &str| {
        office
            .client
            .post(url(path))
            .header("authorization", "bearer limited-key")
    };

    let read = answer(with("res.partner/search").json(&json!({"domain": []}))).await;
    let create = answer(with("res.partner/create").json(&json!({"vals_list": [{"name": "nope"}]}))).await;

    assert_eq!(read.0, 200);
    assert_eq!(
        (create.0, create.1["name"].as_str()),
        (403, Some("odoo.exceptions.AccessError"))
    );
}

#[tokio::test]
async fn the_same_load_twice_updates_the_same_records() {
    let office = Office::open().await;
    let fields = json!(["id", "name", "email"]);
    let first = office
        .load(
            "res.partner",
            fields.clone(),
            json!([["s.p_0", "A", "a@x.test"], ["s.p_1", "B", ""]]),
        )
        .await;

    let second = office
        .load(
            "res.partner",
            fields,
            json!([["s.p_0", "A2", "a@x.test"], ["s.p_1", "B", ""]]),
        )
        .await;

    assert_eq!(first["ids"], second["ids"]);
    assert_eq!(first["nextrow"], 0);
    let ids = second["ids"].clone();
    let names = office
        .ok("res.partner/get_external_id", json!({"ids": ids}))
        .await;
    assert_eq!(names[ids[0].to_string()], "s.p_0");
    assert_eq!(office.erp.ledger().created("customer"), 2);
    let changed: Vec<bool> = office.erp.ledger().effects()[2..]
        .iter()
        .map(|effect| effect.changed)
        .collect();
    assert_eq!(changed, [true, false]);
    let reference = office
        .ok(
            "ir.model.data/check_object_reference",
            json!({"module": "s", "xml_id": "p_1"}),
        )
        .await;
    assert_eq!(reference, json!(["res.partner", ids[1]]));
}

#[tokio::test]
async fn one_bad_row_undoes_the_whole_load() {
    let office = Office::open().await;
    let rows = json!([
        ["s.b1", "Good", "United States"],
        ["s.b2", "Bad", "Nowhereland"],
        ["s.b3", "Good3", ""]
    ]);

    let answer = office
        .load("res.partner", json!(["id", "name", "country_id"]), rows)
        .await;

    assert_eq!(answer["ids"], json!(false));
    let told = &answer["messages"][0];
    assert_eq!(
        told["message"],
        "No matching record found for name 'Nowhereland' in field 'Country'"
    );
    assert_eq!(
        (&told["record"], &told["rows"], &told["field"]),
        (&json!(1), &json!({"from": 1, "to": 1}), &json!("country_id"))
    );
    assert_eq!(
        office
            .count("res.partner", json!([["name", "like", "Good"]]))
            .await,
        0
    );
    assert_eq!(office.erp.ledger().effects().len(), 0);
}

#[tokio::test]
async fn load_messages_say_what_the_real_ones_say() {
    let office = Office::open().await;
    office
        .load("res.partner", json!(["id", "name"]), json!([["s.p", "P"]]))
        .await;
    let cases = [
        (
            "res.partner",
            json!(["id", "name"]),
            json!([["s.c", ""]]),
            "Contacts require a name",
        ),
        (
            "product.template",
            json!(["id", "name", "list_price"]),
            json!([["s.t", "G", "abc"]]),
            "'abc' does not seem to be a number for field 'Sales Price'",
        ),
        (
            "res.partner",
            json!(["id", "name", "parent_id/id"]),
            json!([["s.x", "C", "s.missing"]]),
            "No matching record found for external id 's.missing' in field 'Related Company'",
        ),
        (
            "res.partner",
            json!([".id", "name"]),
            json!([["99999999", "C"]]),
            "Unknown database identifier '99999999'",
        ),
        (
            "res.partner",
            json!(["id", "name", "lang"]),
            json!([["s.l", "L", "de_DE"]]),
            "Value 'de_DE' not found in selection field 'Language'",
        ),
        (
            "product.template",
            json!(["id"]),
            json!([["s.n"]]),
            "Missing required value for the field 'Name' (name)",
        ),
    ];

    for (model, fields, data, expected) in cases {
        let answer = office.load(model, fields, data).await;
        assert_eq!((message(&answer), &answer["ids"]), (expected, &json!(false)));
    }
    let foreign = office
        .load(
            "product.template",
            json!(["id", "name"]),
            json!([["s.p", "wrong"]]),
        )
        .await;
    assert!(message(&foreign).contains("found record of different model res.partner"));
}

#[tokio::test]
async fn load_fails_outright_for_unknown_columns_and_json_booleans() {
    let office = Office::open().await;

    let column = office
        .call(
            "res.partner/load",
            json!({"fields": ["id", "nope"], "data": [["s.d", "x"]]}),
        )
        .await;
    let boolean = json!({"fields": ["id", "name", "is_storable"], "data": [["s.t", "G", true]]});
    let boolean = office.call("product.template/load", boolean).await;

    assert_eq!(
        (column.0, column.1["message"].as_str()),
        (500, Some("Invalid field name 'nope'"))
    );
    assert_eq!(boolean.1["name"], "builtins.AttributeError");
    assert_eq!(boolean.1["message"], "'bool' object has no attribute 'lower'");
    assert_eq!(office.count("product.template", json!([])).await, 0);
}

#[tokio::test]
async fn conversion_errors_are_all_told_and_write_errors_stop_after_ten() {
    let office = Office::open().await;
    let bad = |country: &str, name: &str| {
        (0..40)
            .map(|row| json!([format!("s.r{row}"), name, country]))
            .collect::<Vec<Value>>()
    };
    let fields = json!(["id", "name", "country_id"]);

    let conversions = office
        .load("res.partner", fields.clone(), json!(bad("Nowhere", "x")))
        .await;
    let writes = office.load("res.partner", fields, json!(bad("", ""))).await;

    assert_eq!(conversions["messages"].as_array().unwrap().len(), 40);
    let told = writes["messages"].as_array().unwrap();
    assert_eq!(told.len(), 11);
    assert_eq!(
        (told[10]["type"].as_str(), told[10].get("record")),
        (Some("warning"), None)
    );
}

#[tokio::test]
async fn external_ids_have_their_oddities() {
    let office = Office::open().await;
    let fields = json!(["id", "name"]);

    let twice = office
        .load(
            "res.partner",
            fields.clone(),
            json!([["s.e", "E1"], ["s.e", "E2"]]),
        )
        .await;
    office
        .load(
            "res.partner",
            fields.clone(),
            json!([["bare", "NP"], ["s.a.b_1", "Dots"]]),
        )
        .await;
    let empty = office
        .load("res.partner", fields.clone(), json!([["", "N"], ["", "N"]]))
        .await;
    let id = twice["ids"][0].clone();
    office.ok("res.partner/unlink", json!({"ids": [id]})).await;
    let again = office.load("res.partner", fields, json!([["s.e", "E3"]])).await;

    assert_eq!(twice["ids"][0], twice["ids"][1]);
    assert_ne!(empty["ids"][0], empty["ids"][1]);
    assert_ne!(again["ids"][0], id);
    let rows = json!({"domain": [["name", "in", ["bare", "a.b_1"]]], "fields": ["module"], "order": "id"});
    let rows = office.ok("ir.model.data/search_read", rows).await;
    assert_eq!(
        (&rows[0]["module"], &rows[1]["module"]),
        (&json!("__import__"), &json!("s"))
    );
    let taken = json!({"vals_list": [{"module": "s", "name": "e", "model": "res.partner", "res_id": 1}]});
    let taken = office.call("ir.model.data/create", taken).await;
    assert!(
        taken.1["message"]
            .as_str()
            .unwrap()
            .contains("ir_model_data_module_name_uniq_index")
    );
}

#[tokio::test]
async fn an_archived_record_is_updated_and_stays_archived() {
    let office = Office::open().await;
    let fields = json!(["id", "name"]);
    let id = office
        .load("res.partner", fields.clone(), json!([["s.p", "P"]]))
        .await["ids"][0]
        .clone();
    office
        .ok(
            "res.partner/write",
            json!({"ids": [id], "vals": {"active": false}}),
        )
        .await;

    let again = office.load("res.partner", fields, json!([["s.p", "P2"]])).await;

    assert_eq!(again["ids"], json!([id]));
    let domain = json!([["name", "=", "P2"]]);
    assert_eq!(office.count("res.partner", domain.clone()).await, 0);
    let all = json!({"domain": domain, "context": {"active_test": false}});
    assert_eq!(office.ok("res.partner/search_count", all).await, 1);
}

#[tokio::test]
async fn a_parent_before_its_child_loads_in_one_call_and_a_child_first_does_not() {
    let office = Office::open().await;
    let fields = json!(["id", "name", "type", "parent_id/id", "street"]);
    let (parent, child) = (
        json!(["s.c", "Ann", "contact", "", "Main 1"]),
        json!(["s.c_ship", "", "delivery", "s.c", "Side 2"]),
    );

    let wrong = office
        .load("res.partner", fields.clone(), json!([child, parent]))
        .await;
    let right = office.load("res.partner", fields, json!([parent, child])).await;

    assert_eq!(
        message(&wrong),
        "No matching record found for external id 's.c' in field 'Related Company'"
    );
    let address = office
        .read(
            "res.partner",
            &right["ids"][1],
            json!(["street", "display_name", "parent_id"]),
        )
        .await;
    assert_eq!(address["street"], "Side 2");
    assert_eq!(address["display_name"], "Ann, Delivery Address");
    assert_eq!(address["parent_id"], json!([right["ids"][0], "Ann"]));
}

#[tokio::test]
async fn contacts_share_the_address_of_their_parent_both_ways() {
    let office = Office::open().await;
    let parent = json!(
        office
            .erp
            .insert("res.partner", json!({"name": "P", "street": "Old"}))
    );
    let one = json!(office.erp.insert(
        "res.partner",
        json!({"name": "1", "parent_id": parent, "street": "Own"})
    ));
    let two = json!(
        office
            .erp
            .insert("res.partner", json!({"name": "2", "parent_id": parent}))
    );
    let other = json!(office.erp.insert(
        "res.partner",
        json!({"name": "3", "parent_id": parent, "type": "other"})
    ));
    let street = async |id: &Value| office.read("res.partner", id, json!(["street"])).await["street"].clone();
    assert_eq!(street(&one).await, "Old");

    office
        .ok(
            "res.partner/write",
            json!({"ids": [one], "vals": {"street": "New"}}),
        )
        .await;

    assert_eq!(
        (street(&parent).await, street(&two).await),
        (json!("New"), json!("New"))
    );
    assert_eq!(street(&other).await, json!(false));
}

#[tokio::test]
async fn a_simple_product_makes_its_template_with_an_external_id() {
    let office = Office::open().await;
    let fields = json!([
        "id",
        "name",
        "default_code",
        "list_price",
        "is_storable",
        "weight",
        "barcode",
        "description"
    ]);
    let row = json!([
        "woo1.p_1",
        "Cap",
        "CAP",
        "20",
        "1",
        "0.1234",
        "40",
        "<p onclick=\"x()\">a</p><script>b</script>"
    ]);

    let first = office.load("product.product", fields.clone(), json!([row])).await;
    let second = office.load("product.product", fields, json!([row])).await;

    assert_eq!(first["ids"], second["ids"]);
    let names = [
        "list_price",
        "weight",
        "product_tmpl_id",
        "description",
        "lst_price",
        "type",
        "is_storable",
    ];
    let variant = office
        .read("product.product", &first["ids"][0], json!(names))
        .await;
    assert_eq!(variant["product_tmpl_id"][1], "[CAP] Cap");
    assert_eq!(
        (&variant["list_price"], &variant["weight"]),
        (&json!(20.0), &json!(0.12))
    );
    assert_eq!(
        (&variant["description"], &variant["is_storable"]),
        (&json!("<p>a</p>"), &json!(true))
    );
    let template = office
        .ok(
            "ir.model.data/check_object_reference",
            json!({"module": "woo1", "xml_id": "p_1_product_template"}),
        )
        .await;
    assert_eq!(
        template,
        json!(["product.template", variant["product_tmpl_id"][0]])
    );
    let shown = office
        .read(
            "product.template",
            &template[1],
            json!(["default_code", "product_variant_id"]),
        )
        .await;
    assert_eq!(shown["default_code"], "CAP");
    assert_eq!(shown["product_variant_id"], json!([first["ids"][0], "[CAP] Cap"]));
    assert_eq!(office.erp.ledger().created("product"), 1);
    assert_eq!(office.count("product.product", json!([])).await, 1);
}

#[tokio::test]
async fn a_barcode_is_taken_even_by_an_archived_product_and_a_code_never_is() {
    let office = Office::open().await;
    let vals = json!({"name": "PP A", "default_code": "PPA", "barcode": "BC1", "active": false});
    office.erp.insert("product.product", vals);

    let loaded = office
        .load(
            "product.product",
            json!(["id", "name", "barcode"]),
            json!([["s.b", "PP B", "BC1"]]),
        )
        .await;
    let created = office
        .call(
            "product.product/create",
            json!({"vals_list": [{"name": "bc", "barcode": "BC1"}]}),
        )
        .await;
    let code = office
        .call(
            "product.template/create",
            json!({"vals_list": [{"name": "x", "default_code": "PPA"}]}),
        )
        .await;

    let expected = "Barcode(s) already assigned:\n\n- Barcode \"BC1\" already assigned to product(s): [PPA] PP A and PP \
                    B\n\nNote: products that you don't have access to will not be shown above.";
    assert_eq!(message(&loaded), expected);
    assert_eq!(loaded["messages"].as_array().unwrap().len(), 1);
    assert_eq!(
        (created.0, created.1["name"].as_str()),
        (422, Some("odoo.exceptions.ValidationError"))
    );
    assert_eq!(code.0, 200);
    assert_eq!(office.erp.ledger().duplicates()[0].key, "sku:ppa");
}

#[tokio::test]
async fn a_variable_product_loads_in_five_calls_and_again() {
    let office = Office::open().await;
    for _ in 0..2 {
        let fields = json!(["id", "name", "create_variant", "value_ids/id", "value_ids/name"]);
        let rows = json!([
            ["w.a_1", "Color", "dynamic", "w.v_1", "Red"],
            ["", "", "", "w.v_2", "Blue"]
        ]);
        let attribute = office.load("product.attribute", fields, rows).await;
        let fields = json!([
            "id",
            "name",
            "list_price",
            "attribute_line_ids/id",
            "attribute_line_ids/attribute_id/id",
            "attribute_line_ids/value_ids/id"
        ]);
        let rows = json!([[
            "w.p_1_product_template",
            "Tee",
            "20",
            "w.l_1",
            "w.a_1",
            "w.v_1,w.v_2"
        ]]);
        let template = office.load("product.template", fields, rows).await["ids"][0].clone();
        let query = json!({"domain": [["product_tmpl_id", "in", [template]]], "fields": ["name", "price_extra"], "order": "id"});
        let values = office
            .ok("product.template.attribute.value/search_read", query)
            .await;
        let fields = json!([
            "id",
            "product_tmpl_id/id",
            "product_template_attribute_value_ids/.id",
            "default_code"
        ]);
        let row = |id: &str, value: &Value, code: &str| {
            json!([id, "w.p_1_product_template", value["id"].to_string(), code])
        };
        let rows = json!([row("w.p_2", &values[0], "T-R"), row("w.p_3", &values[1], "T-B")]);
        let variants = office.load("product.product", fields, rows).await;
        let extra = json!([[values[1]["id"].to_string(), "5.0"]]);
        office
            .load(
                "product.template.attribute.value",
                json!([".id", "price_extra"]),
                extra,
            )
            .await;

        assert_eq!(attribute["ids"].as_array().unwrap().len(), 1, "{attribute}");
        assert_eq!(variants["ids"].as_array().map(Vec::len), Some(2), "{variants}");
        let blue = office
            .read(
                "product.product",
                &variants["ids"][1],
                json!(["lst_price", "display_name"]),
            )
            .await;
        assert_eq!(
            (&blue["lst_price"], &blue["display_name"]),
            (&json!(25.0), &json!("[T-B] Tee (Blue)"))
        );
    }
    assert_eq!(office.count("product.product", json!([])).await, 2);
    assert_eq!(
        office.count("product.template.attribute.line", json!([])).await,
        1
    );
    assert_eq!(
        (
            office.erp.ledger().created("product"),
            office.erp.ledger().created("variation")
        ),
        (1, 2)
    );
    let red = office
        .ok(
            "product.product/search",
            json!({"domain": [["default_code", "=", "T-R"]]}),
        )
        .await[0]
        .clone();
    office
        .ok(
            "product.product/write",
            json!({"ids": [red], "vals": {"lst_price": 99}}),
        )
        .await;
    let prices = office
        .ok(
            "product.product/search_read",
            json!({"domain": [], "fields": ["lst_price"], "order": "id"}),
        )
        .await;
    assert_eq!(
        (&prices[0]["lst_price"], &prices[1]["lst_price"]),
        (&json!(99.0), &json!(104.0))
    );
}

#[tokio::test]
async fn always_makes_variants_by_itself_and_a_combination_exists_once() {
    let office = Office::open().await;
    let attribute = office.erp.insert("product.attribute", json!({"name": "Legs"}));
    let values: Vec<i64> = ["Steel", "Wood"]
        .iter()
        .map(|name| {
            office.erp.insert(
                "product.attribute.value",
                json!({"name": name, "attribute_id": attribute}),
            )
        })
        .collect();
    let line = json!([[0, 0, {"attribute_id": attribute, "value_ids": [[6, 0, values]]}]]);

    let made = office
        .ok(
            "product.template/create",
            json!({"vals_list": [{"name": "Desk", "attribute_line_ids": line}]}),
        )
        .await;

    let read = office
        .read(
            "product.template",
            &made[0],
            json!(["product_variant_ids", "default_code"]),
        )
        .await;
    assert_eq!(read["product_variant_ids"].as_array().unwrap().len(), 2);
    let external = office
        .ok(
            "product.product/get_external_id",
            json!({"ids": read["product_variant_ids"]}),
        )
        .await;
    assert!(external.as_object().unwrap().values().all(|name| name == ""));
    let taken = office
        .ok("product.template.attribute.value/search", json!({"domain": []}))
        .await[0]
        .clone();
    let vals = json!({"product_tmpl_id": made[0], "product_template_attribute_value_ids": [[6, 0, [taken]]]});
    let twice = office
        .call("product.product/create", json!({"vals_list": [vals]}))
        .await;
    assert!(
        twice.1["message"]
            .as_str()
            .unwrap()
            .contains("product_product_combination_unique")
    );
}

#[tokio::test]
async fn write_date_is_compared_in_whole_seconds() {
    let office = Office::open().await;
    let id = json!(office.erp.insert("res.partner", json!({"name": "Cursor"})));
    let stamp = office.read("res.partner", &id, json!(["write_date"])).await["write_date"]
        .as_str()
        .unwrap()
        .to_owned();
    let found = async |operator: &str, value: String| {
        office
            .count(
                "res.partner",
                json!([["id", "=", id], ["write_date", operator, value]]),
            )
            .await
    };

    assert_eq!(found(">", stamp.clone()).await, 0);
    assert_eq!(found(">=", format!("{stamp}.999999")).await, 1);
    assert_eq!(found("=", stamp.replace(' ', "T")).await, 1);
    let zoned = json!({"domain": [["write_date", ">", format!("{}Z", stamp.replace(' ', "T"))]]});
    let zoned = office.call("res.partner/search_count", zoned).await;
    assert_eq!(zoned.0, 500);
    assert!(
        zoned.1["message"]
            .as_str()
            .unwrap()
            .starts_with("expecting only datetimes with no timezone")
    );
}

#[tokio::test]
async fn a_keyset_cursor_passes_each_record_once() {
    let office = Office::open().await;
    for number in 0..7 {
        office.erp.insert(
            "res.partner",
            json!({"name": format!("k{number}"), "ref": "keyset"}),
        );
    }
    let mut seen = Vec::new();
    let mut cursor = (String::from("2020-01-01 00:00:00"), 0);
    loop {
        let (at, last) = &cursor;
        let after = json!([
            "&",
            ["ref", "=", "keyset"],
            "|",
            ["write_date", ">", at],
            "&",
            ["write_date", "=", at],
            ["id", ">", last]
        ]);
        let query = json!({"domain": after, "fields": ["write_date"], "order": "write_date,id", "limit": 2});
        let rows = office.ok("res.partner/search_read", query).await;
        let Some(end) = rows.as_array().unwrap().last() else {
            break;
        };
        cursor = (
            end["write_date"].as_str().unwrap().to_owned(),
            end["id"].as_i64().unwrap(),
        );
        seen.extend(
            rows.as_array()
                .unwrap()
                .iter()
                .map(|row| row["id"].as_i64().unwrap()),
        );
    }

    let mut once = seen.clone();
    once.dedup();
    assert_eq!((seen.len(), once.len()), (7, 7));
}

#[tokio::test]
async fn a_long_transaction_becomes_visible_late_with_an_early_time() {
    let office = Office::open().await;
    office.erp.hold_transaction(
        "res.partner",
        json!({"name": "Slow"}),
        Duration::from_millis(1500),
    );
    let meanwhile = office.count("res.partner", json!([["name", "=", "Slow"]])).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    office.erp.insert("res.partner", json!({"name": "Quick"}));
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    while office.count("res.partner", json!([["name", "=", "Slow"]])).await == 0 {
        assert!(
            std::time::Instant::now() < deadline,
            "the transaction never committed"
        );
    }

    let query =
        json!({"domain": [["name", "in", ["Slow", "Quick"]]], "fields": ["name"], "order": "write_date,id"});
    let rows = office.ok("res.partner/search_read", query).await;

    assert_eq!(meanwhile, 0);
    assert_eq!(
        (&rows[0]["name"], &rows[1]["name"]),
        (&json!("Slow"), &json!("Quick"))
    );
}

#[tokio::test]
async fn template_and_variant_move_each_others_time() {
    let office = Office::open().await;
    let variant = json!(office.erp.insert("product.product", json!({"name": "x"})));
    let times = async || {
        let own = office
            .read(
                "product.product",
                &variant,
                json!(["write_date", "product_tmpl_id"]),
            )
            .await;
        let template = office
            .read(
                "product.template",
                &own["product_tmpl_id"][0],
                json!(["write_date"]),
            )
            .await;
        (
            own["write_date"].clone(),
            template["write_date"].clone(),
            own["product_tmpl_id"][0].clone(),
        )
    };
    let before = times().await;
    tokio::time::sleep(Duration::from_millis(1100)).await;

    office
        .ok(
            "product.template/write",
            json!({"ids": [before.2], "vals": {"name": "x"}}),
        )
        .await;
    let after = times().await;

    assert!(after.0.as_str() > before.0.as_str() && after.1.as_str() > before.1.as_str());
}

#[tokio::test]
async fn domains_nest_and_follow_relations() {
    let office = Office::open().await;
    for (name, country) in [("Ann", 233), ("Bob", 57), ("Cid", 57)] {
        office.erp.insert(
            "res.partner",
            json!({"name": name, "country_id": country, "ref": "t", "email": "same@x.test"}),
        );
    }
    let names = async |domain: Value| {
        let rows = office
            .ok(
                "res.partner/search_read",
                json!({"domain": domain, "fields": ["name"], "order": "name desc", "limit": 5}),
            )
            .await;
        rows.as_array()
            .unwrap()
            .iter()
            .map(|row| row["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };

    assert_eq!(
        names(json!([
            "&",
            ["ref", "=", "t"],
            "|",
            ["country_id.code", "=", "US"],
            ["name", "=ilike", "C%"]
        ]))
        .await,
        ["Cid", "Ann"]
    );
    assert_eq!(
        names(json!([["ref", "=", "t"], "!", ["country_id", "=", 57]])).await,
        ["Ann"]
    );
    assert_eq!(
        names(json!([["email", "ilike", "SAME"], ["name", "not in", ["Ann"]]])).await,
        ["Cid", "Bob"]
    );
    assert_eq!(
        names(json!([["ref", "!=", false], ["street", "=", false]]))
            .await
            .len(),
        3
    );
}

#[tokio::test]
async fn summaries_are_cheap_news() {
    let office = Office::open().await;
    let id = office.erp.insert("res.partner", json!({"name": "Last"}));

    let body = json!({"domain": [], "groupby": [], "aggregates": ["__count", "write_date:max", "id:max"]});
    let sums = office.ok("res.partner/formatted_read_group", body).await;
    let fields = office
        .ok("res.partner/fields_get", json!({"attributes": ["type"]}))
        .await;

    assert_eq!((&sums[0]["__count"], &sums[0]["id:max"]), (&json!(3), &json!(id)));
    assert!(sums[0]["write_date:max"].is_string());
    assert_eq!(fields["country_id"], json!({"type": "many2one"}));
    assert_eq!(fields.get("mobile"), None);
}

#[tokio::test]
async fn relations_are_named_and_nothing_is_false() {
    let office = Office::open().await;
    let id = json!(office.erp.insert(
        "res.partner",
        json!({"name": "x", "state_id": 13, "country_id": 233})
    ));

    let row = office
        .read(
            "res.partner",
            &id,
            json!(["state_id", "street", "child_ids", "email"]),
        )
        .await;
    let bare = office
        .ok(
            "res.partner/read",
            json!({"ids": [id], "fields": ["state_id"], "load": null}),
        )
        .await;

    assert_eq!(
        row,
        json!({"id": id, "state_id": [13, "California (US)"], "street": false, "child_ids": [], "email": false})
    );
    assert_eq!(bare[0]["state_id"], 13);
}

#[tokio::test]
async fn a_conflict_is_a_row_message_in_load_and_an_error_elsewhere() {
    let office = Office::open().await;
    office
        .erp
        .faults()
        .on_path("/json/2/", Fault::SerializationMessage, Some(2));

    let load = office
        .load("res.partner", json!(["id", "name"]), json!([["s.p", "P"]]))
        .await;
    let write = office
        .call("res.partner/write", json!({"ids": [1], "vals": {"name": "x"}}))
        .await;

    assert_eq!(load["ids"], json!(false));
    assert_eq!(
        message(&load),
        "could not serialize access due to concurrent update\n"
    );
    assert_eq!(
        (write.0, write.1["name"].as_str()),
        (500, Some("psycopg2.errors.SerializationFailure"))
    );
    assert_eq!(office.erp.ledger().effects().len(), 0);
}

#[tokio::test]
async fn a_failed_call_leaves_no_trace() {
    let office = Office::open().await;

    let failed = office
        .call(
            "res.partner/create",
            json!({"vals_list": [{"name": "M3"}, {}, {"name": "M4"}]}),
        )
        .await;

    assert_eq!(failed.0, 422);
    assert_eq!(
        office
            .count("res.partner", json!([["name", "like", "M"], ["id", ">", 3]]))
            .await,
        0
    );
    assert_eq!(office.erp.ledger().effects().len(), 0);
}

#[tokio::test]
async fn duplicates_by_email_spare_child_addresses() {
    let office = Office::open().await;
    let person = office
        .erp
        .insert("res.partner", json!({"name": "Ann", "email": "Ann@x.test"}));
    let child = json!({"name": "c", "type": "delivery", "parent_id": person, "email": "ann@x.test"});
    office
        .ok("res.partner/create", json!({"vals_list": [child]}))
        .await;
    assert_eq!(office.erp.ledger().duplicates(), []);

    office
        .ok(
            "res.partner/create",
            json!({"vals_list": [{"name": "Ann again", "email": "ann@x.test "}]}),
        )
        .await;

    let found = office.erp.ledger().duplicates();
    assert_eq!(
        (found.len(), found[0].entity, found[0].key.as_str()),
        (1, "customer", "email:ann@x.test")
    );
}
