//! Plates that a camera reads itself, as ONVIF events over MQTT (Profile M): topic
//! `{TopicPrefix}/onvif-ej/RuleEngine/Recognition/LicensePlate[/&source]`, body with `UtcTime`, `Source` and `Data`. Values
//! may be quoted even when they are numbers, names differ from maker to maker: read leniently, kept as readings.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::fields::{self, MessageError, Problem};
use super::{Observation, Parsed};
use crate::camera::CameraId;

/// What a camera's own reader publishes below its topic prefix.
pub const LICENSE_PLATE: &str = "onvif-ej/RuleEngine/Recognition/LicensePlate";

/// Where a plate may stand.
const NUMBER: [&str; 5] = ["PlateNumber", "LicensePlate", "Plate", "Number", "Value"];

/// Reads one event. `Ok(None)`: an empty retained message, by which a camera takes a property back.
///
/// # Errors
/// When it is no JSON object, or has no plate or time.
pub fn read(camera: &CameraId, topic: &str, bytes: &[u8]) -> Result<Option<Parsed<Observation>>, MessageError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let body = fields::object(bytes)?;
    let data = body.get("Data").and_then(Value::as_object).cloned().unwrap_or_default();
    let info = data.get("LicensePlateInfo").and_then(Value::as_object).unwrap_or(&data);
    let plate = NUMBER.iter().find_map(|name| value(info.get(*name)));
    let Some(plate) = plate.filter(|p| !p.0.trim().is_empty()) else {
        return Err(missing("Data", "PlateNumber, as text or with a Likelihood"));
    };
    let Some(at) = body.get("UtcTime").and_then(Value::as_str) else {
        return Err(missing("UtcTime", fields::TIME_FORM));
    };
    let digest = Sha256::digest(format!("{topic}\n{at}\n{}", plate.0));
    let mut map = Map::new();
    map.insert("id".into(), format!("onvif-{}", hex::encode(&digest[..12])).into());
    map.insert("at".into(), at.into());
    map.insert("kind".into(), "plate".into());
    map.insert("raw".into(), plate.0.into());
    map.insert("camera".into(), camera.0.clone().into());
    map.insert("source".into(), "onvif".into());
    let likelihood = plate.1.or_else(|| number(info.get("Likelihood"))).unwrap_or(1.0);
    map.insert("confidence".into(), likelihood.clamp(0.0, 1.0).into());
    if let Some((country, _)) = value(info.get("CountryCode")).filter(|(c, _)| c.trim().len() == 2) {
        map.insert("country".into(), country.into());
    }
    Observation::from_object(map).map(Some)
}

/// A text, or an element `{"#text": …, "@Likelihood": …}` as XML becomes JSON.
fn value(v: Option<&Value>) -> Option<(String, Option<f64>)> {
    match v? {
        Value::String(text) => Some((text.clone(), None)),
        Value::Number(n) => Some((n.to_string(), None)),
        Value::Object(map) => {
            let text = map.get("#text").or_else(|| map.get("Value"))?.as_str()?.to_owned();
            Some((text, number(map.get("@Likelihood").or_else(|| map.get("Likelihood")))))
        }
        _ => None,
    }
}

fn number(v: Option<&Value>) -> Option<f64> {
    let v = v?;
    v.as_f64().or_else(|| v.as_str()?.trim().parse().ok()).filter(|n| n.is_finite())
}

fn missing(field: &str, allowed: &str) -> MessageError {
    MessageError::Fields(vec![Problem { field: field.into(), value: "missing".into(), allowed: allowed.into() }])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(body: &str) -> Result<Option<Observation>, String> {
        let read =
            read(&CameraId("gate".into()), "cam/onvif-ej/RuleEngine/Recognition/LicensePlate/&1", body.as_bytes());
        read.map(|o| o.map(|p| p.value)).map_err(|e| e.to_string())
    }

    #[test]
    fn events_of_cameras_become_readings() {
        let body = r##"{"UtcTime": "2026-03-02T10:00:00.5Z", "Source": {"VideoSource": "1"},
            "Data": {"LicensePlateInfo": {"PlateNumber": {"#text": "51C-123.45", "@Likelihood": "0.87"}, "CountryCode": "vn"}}}"##;
        let o = take(body).unwrap().unwrap();
        assert_eq!(
            (o.norm.as_str(), o.country.as_deref(), o.camera.unwrap().0.as_str()),
            ("51C12345", Some("VN"), "gate")
        );
        assert!((o.confidence - 0.87).abs() < 1e-6);
        let again = take(body).unwrap().unwrap();
        assert_eq!(o.id, again.id, "sent twice is one reading");
        let plain =
            take(r#"{"UtcTime": "2026-03-02T10:00:01Z", "Data": {"PlateNumber": "15RM-012.34", "Likelihood": "0.5"}}"#);
        assert!((plain.unwrap().unwrap().confidence - 0.5).abs() < 1e-6);
    }

    #[test]
    fn what_is_no_plate_is_named() {
        assert!(take("").unwrap().is_none(), "a property taken back");
        assert!(take("[]").unwrap_err().contains("not a JSON object"));
        assert!(take(r#"{"UtcTime": "2026-03-02T10:00:00Z", "Data": {}}"#).unwrap_err().contains("PlateNumber"));
        assert!(take(r#"{"Data": {"PlateNumber": "51C12345"}}"#).unwrap_err().contains("UtcTime"));
    }
}
