//! Customers: profiles created and merged.

use crate::harness::{NOW, Shop, Tested, to_json};
use batchwright::loyalty::{self, CustomerItem, Customers, Document, Profile, codes};
use batchwright::testing::Assertions;

#[track_caller]
fn profile(shop: &Shop, customer: &str) -> String {
    let profile = loyalty::profile(&shop.queue, customer);
    let profile = profile.unwrap_or_else(|error| unreachable!("{error}"));
    to_json(&profile.unwrap_or_else(|| unreachable!("there is no customer {customer}")))
}

#[test]
fn a_customer_is_created_then_updated() -> Tested {
    let shop = Shop::open()?;
    let item = r#"{"customerId":"ada"}"#;
    assert_eq!(
        shop.output::<Customers>(item),
        r#"{"customerId":"ada","message":"Customer created successfully"}"#
    );
    assert_eq!(
        shop.output::<Customers>(item),
        r#"{"customerId":"ada","message":"Customer updated successfully"}"#
    );
    assert_eq!(shop.points("ada"), (0, 0, 0));
    shop.assert_audited();
    Ok(())
}

#[test]
fn a_customer_whom_a_cashback_created_is_updated_and_keeps_the_points() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "5");
    assert_eq!(
        shop.output::<Customers>(r#"{"customerId":"ada","email":"a@b.c"}"#),
        r#"{"customerId":"ada","message":"Customer updated successfully"}"#
    );
    assert_eq!(shop.points("ada").0, 5);
    Ok(())
}

#[test]
fn every_field_of_the_nested_form_is_kept() -> Tested {
    let shop = Shop::open()?;
    let attributes = r#"{"displayName":"Ada L.","firstName":"Ada","lastName":"Lovelace","email":"inner@b.c","gender":"F","mobile":"2","dateOfBirth":"1815-12-10","joinDate":"2024-01-01T00:00:00Z","country":"UK","city":"London","zip":"W1","preferredLanguage":"en","source":"web","utms":[{"a":1.0}],"devices":[],"paymentMethods":["card"],"totalSpent":123456789012345.67,"lastOrderDate":"2025-01-02","totalOrders":7,"avgOrderAmount":0.1,"channel":"pos","custom":{"big":123456789012345678901234567890,"x":{"y":[1.50]}}}"#;
    let outer = r#""email":"a@b.c","mobile":"1","deviceToken":"d","osType":"ios","referrerCode":"r","guest":true"#;
    shop.output::<Customers>(&format!(
        r#"{{"customerId":"ada",{outer},"customerAttributes":{attributes}}}"#
    ));
    assert_eq!(
        profile(&shop, "ada"),
        format!(r#"{{{outer},"customerAttributes":{attributes}}}"#)
    );
    Ok(())
}

#[test]
fn the_flat_form_says_the_same_as_the_nested_one() -> Tested {
    let shop = Shop::open()?;
    shop.output::<Customers>(
        r#"{"customerId":"flat","name":"Ada","gender":"F","dateOfBirth":"1815-12-10","joinDate":"2024-01-01","tags":["vip","new"],"custom":{"a":1}}"#,
    );
    shop.output::<Customers>(
        r#"{"customerId":"nested","tags":["vip","new"],"customerAttributes":{"displayName":"Ada","gender":"F","dateOfBirth":"1815-12-10","joinDate":"2024-01-01","custom":{"a":1}}}"#,
    );
    assert_eq!(
        profile(&shop, "flat"),
        r#"{"tags":["vip","new"],"customerAttributes":{"displayName":"Ada","gender":"F","dateOfBirth":"1815-12-10","joinDate":"2024-01-01","custom":{"a":1}}}"#
    );
    assert_eq!(profile(&shop, "flat"), profile(&shop, "nested"));
    Ok(())
}

#[test]
fn of_both_forms_in_one_item_the_nested_one_wins() -> Tested {
    let shop = Shop::open()?;
    shop.output::<Customers>(
        r#"{"customerId":"ada","name":"flat","gender":"F","custom":{"a":1,"b":1},"customerAttributes":{"displayName":"nested","custom":{"b":2,"c":2}}}"#,
    );
    assert_eq!(
        profile(&shop, "ada"),
        r#"{"customerAttributes":{"displayName":"nested","gender":"F","custom":{"a":1,"b":2,"c":2}}}"#
    );
    Ok(())
}

#[test]
fn an_update_changes_what_it_says_and_nothing_else() -> Tested {
    let shop = Shop::open()?;
    for item in [
        r#"{"customerId":"ada","email":"a@b.c","guest":true,"tags":["x"],"customerAttributes":{"city":"London","zip":"W1"}}"#,
        r#"{"customerId":"bob","email":"bob@b.c"}"#,
        r#"{"customerId":"ada","mobile":"1","email":null,"guest":false,"tags":[],"customerAttributes":{"zip":"W2","city":null}}"#,
        r#"{"customerId":"ada","customerAttributes":null,"custom":null,"tags":null}"#,
    ] {
        shop.output::<Customers>(item);
    }
    assert_eq!(
        profile(&shop, "ada"),
        r#"{"email":"a@b.c","mobile":"1","guest":false,"tags":[],"customerAttributes":{"city":"London","zip":"W2"}}"#
    );
    assert_eq!(
        profile(&shop, "bob"),
        r#"{"email":"bob@b.c","customerAttributes":{}}"#
    );
    Ok(())
}

#[test]
fn members_of_custom_are_merged_by_name_and_null_removes_one() -> Tested {
    let shop = Shop::open()?;
    for item in [
        r#"{"customerId":"ada","custom":{"a":1,"b":{"x":1},"c":3,"d":4}}"#,
        r#"{"customerId":"ada","custom":{"a":null,"b":{"y":2}}}"#,
        r#"{"customerId":"ada","customerAttributes":{"custom":{"d":null,"e":5,"never":null}}}"#,
    ] {
        shop.output::<Customers>(item);
    }
    assert_eq!(
        profile(&shop, "ada"),
        r#"{"customerAttributes":{"custom":{"b":{"y":2},"c":3,"e":5}}}"#
    );
    Ok(())
}

#[test]
fn each_channel_is_taken_and_no_other() -> Tested {
    let shop = Shop::open()?;
    let item = |channel: &str| {
        format!(r#"{{"customerId":"ada","customerAttributes":{{"channel":{channel}}}}}"#)
    };
    for channel in ["mobile", "pos", "web", "callcenter"] {
        shop.output::<Customers>(&item(&format!("\"{channel}\"")));
        assert!(profile(&shop, "ada").contains(&format!(r#""channel":"{channel}""#)));
    }
    for channel in ["\"Web\"", "\"\"", "5"] {
        let message = shop.refuses::<Customers>(
            &item(channel),
            codes::INVALID_VALUE,
            "customerAttributes.channel",
        );
        assert_eq!(
            message,
            format!(
                "customerAttributes.channel is {channel}, expected one of mobile, pos, web, callcenter"
            )
        );
    }
    Ok(())
}

#[test]
fn what_is_no_date_is_refused_in_both_forms() -> Tested {
    let shop = Shop::open()?;
    for field in ["dateOfBirth", "joinDate"] {
        let flat = format!(r#"{{"customerId":"ada","{field}":"21.5.1990"}}"#);
        let message = shop.refuses::<Customers>(&flat, codes::INVALID_VALUE, field);
        assert_eq!(
            message,
            format!(r#"{field} is "21.5.1990", expected a date such as 1990-05-21"#)
        );
    }
    for field in ["dateOfBirth", "joinDate", "lastOrderDate"] {
        let nested =
            format!(r#"{{"customerId":"ada","customerAttributes":{{"{field}":"1990-02-30"}}}}"#);
        let path = format!("customerAttributes.{field}");
        shop.refuses::<Customers>(&nested, codes::INVALID_VALUE, &path);
    }
    Ok(())
}

#[test]
fn unknown_fields_are_ignored() -> Tested {
    let shop = Shop::open()?;
    shop.output::<Customers>(r#"{"customerId":"ada","favouriteColour":{"deep":[1]}}"#);
    assert_eq!(profile(&shop, "ada"), r#"{"customerAttributes":{}}"#);
    Ok(())
}

#[test]
fn a_profile_that_grows_past_a_row_fails_and_stays_what_it_was() -> Tested {
    let shop = Shop::open()?;
    let large = "x".repeat(40_000);
    shop.output::<Customers>(&format!(
        r#"{{"customerId":"ada","custom":{{"a":"{large}"}}}}"#
    ));
    let failure = shop.fails::<Customers>(
        &format!(r#"{{"customerId":"ada","email":"new","custom":{{"b":"{large}"}}}}"#),
        codes::LIMIT_EXCEEDED,
        "customerAttributes",
    );
    assert!(
        failure
            .message
            .ends_with("bytes of JSON, the limit is 61440"),
        "{failure}"
    );
    assert!(!profile(&shop, "ada").contains("new"));
    Ok(())
}

#[test]
fn an_item_as_a_value_does_what_it_does_in_json() -> Tested {
    let (typed, json) = (Shop::open()?, Shop::open()?);
    let mut item = CustomerItem::new("ada");
    item.email = Some("a@b.c".to_owned());
    item.name = Some("Ada".to_owned());
    item.custom = Some([("a".to_owned(), Document::from(serde_json::json!(1)))].into());
    typed.run::<Customers>([item])?.assert_all_succeeded();
    json.output::<Customers>(
        r#"{"customerId":"ada","email":"a@b.c","name":"Ada","custom":{"a":1}}"#,
    );
    assert_eq!(typed.rows(), json.rows());
    Ok(())
}

#[test]
fn the_profile_of_an_unknown_customer_is_none() -> Tested {
    let shop = Shop::open()?;
    shop.output::<Customers>(r#"{"customerId":"ada"}"#);
    assert_eq!(
        loyalty::profile(&shop.queue, "ada")?,
        Some(Profile::default())
    );
    let long = "x".repeat(256);
    for customer in ["nobody", "", "ad", "a\0b", long.as_str(), NOW] {
        assert_eq!(loyalty::profile(&shop.queue, customer)?, None);
        assert_eq!(shop.balance(customer), None);
        assert!(loyalty::history(&shop.queue, customer)?.is_none());
        assert_eq!(loyalty::events(&shop.queue, customer, 0, 9)?, []);
    }
    Ok(())
}
