//! The router without a socket: who gets in, what is answered, what reaches the register.

use std::sync::Mutex;

use axum::body::{Body, to_bytes};
use tower::ServiceExt;

use super::super::coverage::{AskError, Question};
use super::*;
use crate::clock::UtcMillis;
use crate::coverage::{Answer, Coverage, Span};
use crate::telemetry::health::Level;

/// Remembers what came; items without `id` are invalid, `{"id": "down"}` finds the register away.
#[derive(Default)]
struct Memory(Mutex<Vec<(&'static str, Value)>>);

impl Memory {
    fn keep(&self, kind: &'static str, item: Value) -> Result<Applied, SinkError> {
        match item["id"].as_str() {
            None => Err(SinkError::Invalid(vec![FieldError { field: "id".into(), message: "is missing".into() }])),
            Some("down") => Err(SinkError::Unavailable("disk full at /secret/place".into())),
            Some(_) => {
                self.0.lock().unwrap().push((kind, item));
                Ok(Applied::Stored)
            }
        }
    }
}

impl RegisterSink for Memory {
    fn take(&self, kind: FactKind, items: Vec<Value>) -> BoxFuture<'_, Answers> {
        let kind = if kind == FactKind::Declaration { "declaration" } else { "booking" };
        Box::pin(async move {
            let answers: Vec<_> = items.into_iter().map(|item| self.keep(kind, item)).collect();
            // The store refuses all or none.
            match answers.iter().find_map(|a| a.as_ref().err().filter(|e| matches!(e, SinkError::Unavailable(_)))) {
                Some(SinkError::Unavailable(why)) => Err(SinkError::Unavailable(why.clone())),
                _ => Ok(answers),
            }
        })
    }
    fn bookings(&self, query: BookingQuery) -> BoxFuture<'_, Result<Value, SinkError>> {
        Box::pin(async move { Ok(json!([{"area": query.area}])) })
    }
}

impl super::super::api_coverage::CoverageSource for Memory {
    fn ask(&self, q: Question) -> BoxFuture<'_, Result<Answer, AskError>> {
        Box::pin(async move {
            let Some(camera) = q.camera else { return Err(AskError::Invalid("camera or area: one is needed".into())) };
            let asked = Span { from: UtcMillis(0), to: UtcMillis(1000) };
            Ok(Answer::new(camera, q.area, asked, Vec::new(), Coverage::default()))
        })
    }
}

struct Api {
    state: ApiState,
    register: Arc<Memory>,
}

impl Api {
    fn new(token: Option<&str>) -> Self {
        let register = Arc::new(Memory::default());
        let state = ApiState {
            health: Arc::default(),
            metrics: Arc::new(|| "gatewatch_mqtt_up 1\n".into()),
            status: Arc::new(|| Box::pin(async { json!({"cameras": []}) })),
            register: register.clone(),
            coverage: register.clone(),
            footage: None,
            annotator: None,
            sheets: Arc::default(),
            masks: None,
            views: None,
            tips: None,
            windows: None,
            running: None,
            drawing: Arc::default(),
            token: token.map(|t| Secret::new(t.into())),
        };
        Self { state, register }
    }

    async fn send(&self, request: Request) -> (StatusCode, String) {
        let response = router(self.state.clone()).oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        self.send(Request::get(path).header("host", "127.0.0.1:8480").body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, body: impl Into<Body>) -> (StatusCode, Value) {
        let request = Request::post(path).header("host", "localhost:8480").header("content-type", "application/json");
        let request = request.body(body.into()).unwrap();
        let (status, text) = self.send(request).await;
        (status, serde_json::from_str(&text).unwrap())
    }
}

#[tokio::test]
async fn one_object_and_an_array_are_applied_in_order_with_a_result_each() {
    let api = Api::new(None);
    let (status, body) = api.post("/api/bookings", r#"{"id": "b1"}"#).await;
    assert_eq!((status, body), (StatusCode::OK, json!({"results": [{"index": 0, "result": "stored"}]})));
    let (status, body) = api.post("/api/declarations", r#"[{"id": "d1"}, {}, {"id": "d2"}]"#).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(body["message"], "1 of 3 items are refused; the others are applied");
    assert_eq!(body["results"][1]["fields"][0], json!({"field": "id", "message": "is missing"}));
    let seen: Vec<_> = api.register.0.lock().unwrap().iter().map(|(k, v)| format!("{k} {}", v["id"])).collect();
    assert_eq!(seen, [r#"booking "b1""#, r#"declaration "d1""#, r#"declaration "d2""#]);
}

#[tokio::test]
async fn an_unavailable_register_is_503_and_its_inner_reason_stays_inside() {
    let (status, body) = Api::new(None).post("/api/bookings", r#"{"id": "down"}"#).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!body.to_string().contains("secret"), "{body}");
}

#[tokio::test]
async fn bodies_that_are_no_items_are_refused_with_a_reason() {
    let api = Api::new(None);
    for (body, message) in [("{", "not valid JSON"), ("3", "send one object or an array of objects")] {
        let (status, answer) = api.post("/api/bookings", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(answer["message"].as_str().unwrap().starts_with(message), "{answer}");
    }
    let (status, _) = api.post("/api/bookings", vec![b' '; MAX_BODY_BYTES + 1]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let form = Request::post("/api/bookings").header("host", "[::1]:8480").header("content-type", "text/plain");
    let form = form.body(Body::from("{}")).unwrap();
    assert_eq!(api.send(form).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(api.register.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_token_guards_everything_but_the_probes() {
    let api = Api::new(Some("s3cret"));
    for path in ["/api/footage", "/api/events/x/clip", "/api/tips", "/api/holds"] {
        assert_eq!(api.get(path).await.0, StatusCode::UNAUTHORIZED, "{path}");
    }
    for path in ["/metrics", "/api/status", "/api/bookings", "/api/coverage?camera=bay"] {
        assert_eq!(api.get(path).await.0, StatusCode::UNAUTHORIZED, "{path}");
        for (header, expected) in [
            ("Bearer s3cret", StatusCode::OK),
            ("bearer s3cret", StatusCode::OK),
            ("Bearer s3cre", StatusCode::UNAUTHORIZED),
            ("Basic s3cret", StatusCode::UNAUTHORIZED),
        ] {
            let request = Request::get(path).header("authorization", header).body(Body::empty()).unwrap();
            assert_eq!(api.send(request).await.0, expected, "{path} with {header}");
        }
    }
    let (status, body) = api.post("/api/declarations", r#"{"id": "d"}"#).await;
    assert_eq!((status, body["error"].as_str()), (StatusCode::UNAUTHORIZED, Some("unauthorized")));
    assert_eq!(api.get("/livez").await.0, StatusCode::OK);
}

#[tokio::test]
async fn without_a_token_a_foreign_name_gets_nothing_but_the_probes() {
    let asked = async |api: &Api, path: &str, host: Option<&str>| {
        let request = host.iter().fold(Request::get(path), |request, host| request.header("host", *host));
        api.send(request.body(Body::empty()).unwrap()).await
    };
    let open = Api::new(None);
    let paths = [
        "/metrics",
        "/api/status",
        "/api/bookings",
        "/api/coverage?camera=bay",
        "/api/footage",
        "/api/events/x/clip",
        "/api/tips",
        "/api/holds",
        "/api/cameras/bay/areas",
    ];
    for path in paths {
        for host in [Some("evil.example:8480"), Some("127.0.0.1.evil.example"), None] {
            let (status, body) = asked(&open, path, host).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{path} under {host:?}");
            assert!(body.contains("http.token"), "{path}: {body}");
        }
        assert_ne!(asked(&open, path, Some("localhost:8480")).await.0, StatusCode::FORBIDDEN, "{path}");
    }
    let request = Request::post("/api/declarations").header("host", "evil.example");
    let request = request.header("content-type", "application/json").body(Body::from(r#"{"id": "d"}"#)).unwrap();
    assert_eq!(open.send(request).await.0, StatusCode::FORBIDDEN);
    assert!(open.register.0.lock().unwrap().is_empty());
    open.state.health.set("store", Level::Ok, "open");
    for path in ["/livez", "/readyz"] {
        assert_eq!(asked(&open, path, Some("gate-01.example")).await.0, StatusCode::OK, "{path}");
    }
    // Where a token is asked for, the box has a name.
    let request =
        Request::get("/api/status").header("host", "gate-01.example").header("authorization", "Bearer s3cret");
    let guarded = Api::new(Some("s3cret"));
    assert_eq!(guarded.send(request.body(Body::empty()).unwrap()).await.0, StatusCode::OK);
}

#[tokio::test]
async fn ready_names_the_part_that_is_not_well() {
    let api = Api::new(None);
    assert_eq!(api.get("/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE, "nothing has started yet");
    api.state.health.set("store", Level::Ok, "open");
    assert_eq!(api.get("/readyz").await.0, StatusCode::OK);
    api.state.health.set("camera/bay-1", Level::Failed, "the camera refuses the password");
    let (status, body) = api.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["parts"]["camera/bay-1"]["message"], "the camera refuses the password");
}

#[tokio::test]
async fn live_fails_when_a_loop_stops_turning() {
    let api = Api::new(None);
    api.state.health.tick("deliver", -1);
    let (status, body) = api.get("/livez").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("deliver"), "{body}");
}

#[tokio::test]
async fn status_metrics_and_queries_answer_and_the_rest_is_json_404_and_405() {
    let api = Api::new(None);
    assert_eq!(api.get("/metrics").await, (StatusCode::OK, "gatewatch_mqtt_up 1\n".into()));
    assert_eq!(api.get("/api/status").await, (StatusCode::OK, r#"{"cameras":[]}"#.into()));
    assert_eq!(api.get("/api/bookings?area=bay-1").await.1, r#"[{"area":"bay-1"}]"#);
    assert_eq!(api.get("/api/bookings?aera=bay-1").await.0, StatusCode::BAD_REQUEST);
    let (status, told) = api.get("/api/coverage?camera=bay&area=bay-1").await;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((status, &told["area"], &told["answer"]), (StatusCode::OK, &json!("bay-1"), &json!("no")));
    for wrong in ["", "aera=bay-1"] {
        assert_eq!(api.get(&format!("/api/coverage?{wrong}")).await.0, StatusCode::BAD_REQUEST, "{wrong}");
    }
    assert!(api.get("/nothing").await.1.contains("not_found"));
    let (status, body) = api.get("/api/declarations").await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(body.contains("method_not_allowed"), "{body}");
}
