//! How an endpoint tells its gateway's deliveries from others, and the gateways that are like another one.

use super::*;
use crate::config::{Endpoint, KeepRefused, Mode};

/// A gateway that signs a time.
const TIMED: &str = r#"
[gateway.timed]
numbers = "e164"
signature = { headers = ["X-Timed"], encoding = "hex", algorithm = "hmac-sha256", content = "{timestamp}.{body}", timestamp_header = "X-Time" }
message = { from = "/from", text = "/text" }
"#;

#[track_caller]
fn endpoint(keys: &str) -> Endpoint {
    loaded(&format!("{ENDPOINT}{keys}")).config.endpoints.remove(0)
}

#[test]
fn the_url_that_is_signed_is_the_one_typed_or_the_servers_with_the_path() {
    assert_eq!(endpoint("").url, "");
    let server = "[server]\npublic_url = \"https://sms.example.com/\"\n";
    assert_eq!(endpoint(server).url, "https://sms.example.com/hooks/sms");
    // Letter by letter: a URL library would write neither of these so.
    for typed in [
        "https://SMS.example.com:443/hooks/sms",
        "http://sms.example.com:80/a/%7Ex/",
    ] {
        let keys = format!("public_url = \"{typed}\"\n{server}");
        assert_eq!(endpoint(&keys).url, typed);
    }
    for wrong in [
        "sms.example.com/hooks",
        "ftp://sms.example.com/",
        "https://sms.example.com/hooks?x=1",
        "https://sms.example.com/hooks?",
        "https://sms.example.com/hooks#x",
        "https://u:hunter2@sms.example.com/hooks",
        "https://sms.example.com/ hooks",
        "https://sms.example.com\\\\hooks",
        "https:///hooks",
    ] {
        says(&format!("public_url = \"{wrong}\""), "not the URL of an endpoint");
    }
    let warned = warnings(&format!("{ENDPOINT}public_url = \"https://sms.example.com\""));
    assert!(
        warned.len() == 1 && warned[0].contains("has no path, and the endpoint's is `/hooks/sms`"),
        "{warned:?}"
    );
}

#[test]
fn a_secret_may_name_its_algorithm_and_a_wrong_name_is_shown_where_it_stands() {
    let secrets = |list: &str| ENDPOINT.replace("[{ env = \"SECRET\" }]", list);
    let two = loaded(&secrets(
        "[{ env = \"SECRET\", algorithm = \"hmac-sha256\" }, { env = \"CRM_TOKEN\" }]",
    ));
    assert_eq!(two.config.endpoints[0].secret_sources.len(), 2);
    let problems = refused(&secrets("[{ env = \"SECRET\", algorithm = \"hmac-sha265\" }]"));
    assert!(
        problems.starts_with(
            "error: there is no algorithm `hmac-sha265`\n --> config.toml:5:42\n  |\n\
             5 | secrets = [{ env = \"SECRET\", algorithm = \"hmac-sha265\" }]\n"
        ),
        "{problems}"
    );
    assert!(
        problems.contains("help: did you mean `hmac-sha256`? There are: "),
        "{problems}"
    );
    let problems = refused(&secrets("[{ env = \"SECRET\", algorithm = \"none\" }]"));
    assert!(
        problems.contains("help: there are: ") && problems.contains("hmac-sha256"),
        "{problems}"
    );
    let problems = refused(&secrets("[{ env = \"SECRET\", algorithm = 5 }]"));
    assert!(problems.starts_with("error: "), "{problems}");
    // It goes with a secret that deliveries are signed with, and with no other.
    says(
        "[admin]\ntoken = { env = \"SECRET\", algorithm = \"hmac-sha256\" }",
        "unknown key `algorithm`",
    );
}

#[test]
fn a_retired_secret_is_remembered_unless_it_is_in_force_or_gone() {
    let retired = |list: &str| format!("retired_secrets = {list}\n");
    let keys = endpoint(&retired(
        "[{ env = \"CRM_TOKEN\" }, { env = \"DESK_TOKEN\", algorithm = \"hmac-sha256\" }]",
    ));
    let keys = keys.retired.unwrap();
    assert_eq!(
        (keys.label(0), keys.label(1)),
        (Some("env CRM_TOKEN"), Some("env DESK_TOKEN"))
    );
    assert!(endpoint("").retired.is_none());
    says(&retired("[{ env = \"SECRET\" }]"), "this secret is in force");
    says(&retired("[\"value-of-SECRET\"]"), "this secret is in force");
    says(
        &retired("[{ env = \"CRM_TOKEN\", algorithm = \"rot13\" }]"),
        "no algorithm `rot13`",
    );
    let text = format!("{ENDPOINT}{}", retired("[{ env = \"GONE\" }, { env = \"CRM_TOKEN\" }]"));
    let Loaded { config, warnings, .. } = loaded(&text);
    assert_eq!(
        config.endpoints[0].retired.as_ref().unwrap().label(0),
        Some("env CRM_TOKEN")
    );
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0]
            .what
            .contains("retired secret cannot be had: the environment variable `GONE` is not set"),
        "{warnings:?}"
    );
    let generated = loaded(&format!("{ENDPOINT}{}", retired("[{ generated = \"old\" }]")));
    let made = |path: &PathBuf| path.ends_with("old");
    assert!(
        !generated.generated_secrets.iter().any(made),
        "a retired secret is never made"
    );
    assert_eq!(generated.warnings.len(), 1);
    // Which the gateway could never have used, and which hides no other.
    let encoded = format!("secret_encoding = \"hex\"\n{}", retired("[\"zz\", \"00ff\"]"));
    let encoded = ENDPOINT.replace("{ env = \"SECRET\" }", "\"abcd\"") + &encoded;
    let Loaded { config, warnings, .. } = loaded(&encoded);
    assert_eq!(
        config.endpoints[0].retired.as_ref().unwrap().label(0),
        Some("number 2 of the list")
    );
    assert!(
        warnings
            .iter()
            .any(|warning| warning.what.contains("is not hexadecimal")),
        "{warnings:?}"
    );
    assert!(
        warnings.iter().all(|warning| !warning.to_string().contains("zz")),
        "{warnings:?}"
    );
}

#[test]
fn an_endpoint_that_observes_is_warned_about_and_may_have_no_secret_yet() {
    assert_eq!(endpoint("").mode, Mode::Enforce);
    let observing = ENDPOINT.replace("secrets = [{ env = \"SECRET\" }]", "mode = \"observe\"");
    let Loaded { config, warnings, .. } = loaded(&observing);
    assert!(config.endpoints[0].keys.is_none());
    assert_eq!(config.endpoints[0].mode, Mode::Observe { runs_actions: false });
    assert_eq!(warnings.len(), 1);
    assert_eq!(
        warnings[0].to_string(),
        "warning: THIS ENDPOINT ONLY OBSERVES: what does not verify is stored and marked, whoever sent it\n \
         --> config.toml:5:8\n  |\n5 | mode = \"observe\"\n  |        ^^^^^^^^^\n\
         help: set `mode = \"enforce\"` as soon as signatures verify"
    );
    let loud = loaded(&format!("{ENDPOINT}mode = \"observe\"\nobserve_runs_actions = true"));
    assert_eq!(loud.config.endpoints[0].mode, Mode::Observe { runs_actions: true });
    assert!(loud.config.endpoints[0].keys.is_some());
    assert!(
        loud.warnings[0].what.contains("runs its actions, whoever sent it"),
        "{:?}",
        loud.warnings
    );
    says("observe_runs_actions = true", "does not observe");
    says("mode = \"enforce\"\nobserve_runs_actions = true", "does not observe");
    says("mode = \"watch\"", "unknown variant");
    let open = ENDPOINT.replace(
        "secrets = [{ env = \"SECRET\" }]",
        "allow_unsigned = true\nmode = \"observe\"",
    );
    assert!(refused(&open).contains("observes signatures and asks for none"));
}

#[test]
fn refused_deliveries_are_kept_within_limits_and_only_if_asked_for() {
    assert_eq!(endpoint("").keep_refused, None);
    let kept = |count, bytes, days: u64| KeepRefused {
        count,
        bytes,
        age: Duration::from_hours(24 * days),
    };
    let read = |keys: &str| endpoint(&format!("keep_refused = {{ {keys} }}")).keep_refused;
    assert_eq!(read(""), Some(kept(100, 1 << 20, 7)));
    assert_eq!(
        read("count = 10000, bytes = \"64MiB\", age = \"90d\""),
        Some(kept(10_000, 64 << 20, 90))
    );
    for (wrong, what) in [
        ("count = 10001", "out of bounds"),
        ("count = 0", "at least 1"),
        ("bytes = \"65MiB\"", "not a size"),
        ("age = \"91d\"", "out of bounds"),
        ("age = \"0s\"", "out of bounds"),
        ("age = \"week\"", "not a duration"),
        ("size = \"1MiB\"", "unknown key `size`"),
    ] {
        says(&format!("keep_refused = {{ {wrong} }}"), what);
    }
    says("keep_refused = true", "expected a table");
}

#[test]
fn numbers_of_ours_stand_in_for_what_the_gateway_says() {
    let reading = endpoint("recipients = { \"dev 1\" = \"+15551234567\", \"sim-2\" = \"12345\" }").reading;
    assert_eq!(reading.recipients["dev 1"], "+15551234567");
    assert_eq!(reading.recipients["sim-2"], "12345");
    assert!(endpoint("").reading.recipients.is_empty());
    for (wrong, what) in [
        ("\"a\" = \"15551234567\"", "not a number of yours"),
        ("\"a\" = \"our phone\"", "not a number of yours"),
        ("\"a\" = \"\"", "not a number of yours"),
        ("\"\" = \"+15551234567\"", "stands for nothing"),
        ("\"a\" = 15551234567", "expected a string"),
    ] {
        says(&format!("recipients = {{ {wrong} }}"), what);
    }
}

#[test]
fn parts_wait_between_a_second_and_a_minute() {
    assert_eq!(endpoint("").reassembly_wait, Duration::from_secs(10));
    assert_eq!(
        endpoint("reassembly_wait = \"1s\"").reassembly_wait,
        Duration::from_secs(1)
    );
    assert_eq!(
        endpoint("reassembly_wait = \"1m\"").reassembly_wait,
        Duration::from_mins(1)
    );
    for wrong in ["999ms", "61s", "0s"] {
        says(&format!("reassembly_wait = \"{wrong}\""), "out of bounds");
    }
}

#[test]
fn times_are_compared_only_where_one_is_signed() {
    says("tolerance = \"5m\"", "signs no time");
    says("tolerance = \"8d\"", "out of bounds");
    says("tolerance = 300", "expected text with a unit");
    let scheme = |gateway: &str, keys: &str| {
        let text =
            ENDPOINT.replace("mobile-api-connect", gateway) + "public_url = \"https://a.example/hooks/sms\"\n" + keys;
        read::read("config.toml", &text, &environment)
            .map(|mut loaded| loaded.config.endpoints.remove(0).gateway.signature.clone())
            .map_err(|problems| problems.to_string())
    };
    let tolerance = |gateway: &str, keys: &str| scheme(gateway, keys).map(|scheme| scheme.tolerance());
    let seconds = |seconds| Ok(Some(Duration::from_secs(seconds)));
    assert_eq!(tolerance("smsgate", ""), seconds(300));
    assert_eq!(tolerance("smsgate", "tolerance = \"10m\""), seconds(600));
    assert_eq!(tolerance("smsgate", "tolerance = \"0s\""), Ok(None));
    assert_eq!(tolerance("vonage-messages", "tolerance = \"7d\""), seconds(7 * 86_400));
    for token in ["vonage-messages", "httpsms"] {
        let refused = tolerance(token, "tolerance = \"0s\"").unwrap_err();
        assert!(
            refused.contains("ends by its time") || refused.contains("signs no time"),
            "{refused}"
        );
    }
}

#[test]
fn what_is_used_once_is_remembered_as_long_as_the_endpoint_says() {
    says("nonce_memory = \"1h\"", "out of bounds");
    says("nonce_memory = \"367d\"", "not a duration");
    let warned = warnings(&format!("{ENDPOINT}nonce_memory = \"30d\""));
    assert!(
        warned.len() == 1 && warned[0].contains("nothing is remembered"),
        "{warned:?}"
    );
    let plivo = ENDPOINT.replace("mobile-api-connect", "plivo") + "public_url = \"https://a.example/hooks/sms\"\n";
    let scheme = |keys: &str| {
        loaded(&format!("{plivo}{keys}")).config.endpoints[0]
            .gateway
            .signature
            .clone()
    };
    assert_ne!(
        format!("{:?}", scheme("nonce_memory = \"30d\"")),
        format!("{:?}", scheme(""))
    );
    assert_eq!(
        format!("{:?}", scheme("nonce_memory = \"90d\"")),
        format!("{:?}", scheme(""))
    );
}

#[test]
fn a_gateway_that_signs_its_url_needs_to_be_told_which_that_is() {
    let twilio = ENDPOINT.replace("mobile-api-connect", "twilio");
    let problems = refused(&twilio);
    let expected = r#"
error: the gateway `twilio` signs the URL that it calls, and nothing says which that is
 --> config.toml:4:11
  |
4 | gateway = "twilio"
  |           ^^^^^^^^
help: add `public_url = "https://…/hooks/sms"` to the endpoint, or `public_url = "https://…"` to [server]
"#;
    assert!(problems.starts_with(expected.trim_start()), "{problems}");
    assert_eq!(
        loaded(&format!("{twilio}[server]\npublic_url = \"https://a.example\"")).warnings,
        []
    );
    assert_eq!(
        loaded(&format!("{twilio}public_url = \"https://a.example/x\"")).warnings,
        []
    );
}

#[test]
fn a_gateway_like_another_has_its_keys_but_for_its_own() {
    let like = |keys: &str| {
        format!(
            "{}{TIMED}[gateway.mine]\n{keys}",
            ENDPOINT.replace("mobile-api-connect", "mine")
        )
    };
    let mine = |keys: &str| loaded(&like(keys)).config.endpoints.remove(0).gateway;
    let gateway = mine("like = \"mobile-api-connect\"");
    assert_eq!((gateway.name.as_str(), gateway.title.as_str()), ("mine", "mine"));
    assert!(gateway.reply.is_some() && gateway.answers_itself);

    let gateway = mine("like = \"timed\"\ntitle = \"Mine\"\nsignature = { headers = [\"X-Mine\"] }\n");
    assert_eq!(gateway.title, "Mine");
    let headers: Vec<_> = gateway.signature.headers().map(ToString::to_string).collect();
    assert_eq!(headers, ["x-mine"], "a list is replaced");
    assert!(gateway.signature.has_time(), "a table is merged");
    // through another of one's own, wherever that stands
    let gateway = mine("like = \"other\"\n[gateway.other]\nlike = \"timed\"\nnumbers = \"auto\"");
    assert_eq!(gateway.numbers.to_string(), "auto");
    // one's own of the name of a built-in one
    let own = format!("{ENDPOINT}[gateway.mobile-api-connect]\nlike = \"mobile-api-connect\"\nnumbers = \"auto\"");
    assert_eq!(loaded(&own).config.endpoints[0].gateway.numbers.to_string(), "auto");
}

#[test]
fn mistakes_of_a_gateway_like_another_are_shown_where_they_are() {
    shows(
        "[gateway.mine]\nlike = \"mobile-api-connect\"\nnumbrs = \"e164\"\nsignature = { encoding = \"hexx\" }",
        r#"
error: unknown key `numbrs`
 --> config.toml:8:1
  |
8 | numbrs = "****"
  | ^^^^^^
help: did you mean `numbers`?

error: unknown variant `hexx`, expected one of `hex`, `hex-any-case`, `base64`, `plain`
 --> config.toml:9:26
  |
9 | signature = { encoding = "hexx" }
  |                          ^^^^^^

2 errors in the configuration"#,
    );
    let problems =
        whats("[gateway.mine]\nlike = \"mobile-api-connect\"\nsignature = { content = \"{timestamp}{body}\" }");
    assert!(problems[0].contains("timestamp_header"), "{problems:?}");
    says(
        "[gateway.mine]\nlike = \"mobile-api-conect\"",
        "no gateway `mobile-api-conect`",
    );
    says("[gateway.mine]\nlike = 5", "expected the name of a gateway");
    let beside = whats("[gateway.mine]\nlike = \"x\"\nfile = \"/nowhere/y.toml\"");
    assert_eq!(beside[0], "this stands beside `file`");
}

#[test]
fn gateways_that_are_like_each_other_in_a_circle_are_refused() {
    shows(
        "[gateway.a]\nlike = \"b\"\n[gateway.b]\nlike = \"c\"\n[gateway.c]\nlike = \"b\"\n[gateway.d]\nlike = \"d\"",
        r#"
error: the gateways `b`, `c` are like each other in a circle
  --> config.toml:11:8
   |
11 | like = "b"
   |        ^^^
help: let one of them be like a built-in gateway, or write all of its keys

error: the gateway `d` cannot be like itself
  --> config.toml:13:8
   |
13 | like = "d"
   |        ^^^
help: let one of them be like a built-in gateway, or write all of its keys

2 errors in the configuration"#,
    );
}
