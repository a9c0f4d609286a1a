//! Masks: what stands in one is not there, for the tracker and for every rule. An ignore mask says that nothing of
//! interest is there, a privacy mask that nobody may look.

use crate::config::CameraConfig;
use crate::geometry::Polygon;
use crate::vision::Detection;

/// The masks of one camera, of both kinds.
#[derive(Debug, Clone)]
pub struct Masks(Vec<Polygon>);

impl Masks {
    /// The camera's masks.
    #[must_use]
    pub fn new(camera: &CameraConfig) -> Self {
        let masks = camera.areas.iter().filter(|a| a.kind.is_mask());
        Self(masks.map(|a| a.polygon.clone()).collect())
    }

    /// Drops detections whose foot point lies in a mask, in a picture of `size` pixels.
    pub fn apply(&self, size: (u32, u32), detections: &mut Vec<Detection>) {
        detections.retain(|d| {
            let foot = super::foot_fraction(&d.rect, size);
            !self.0.iter().any(|mask| mask.contains(foot))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Rect;

    #[test]
    fn the_foot_decides_for_both_kinds_and_other_areas_mask_nothing() {
        let camera: CameraConfig = serde_json::from_value(serde_json::json!({
            "id": "c", "url": "rtsp://camera.invalid/1", "area": [
                {"id": "sky", "kind": "ignore_mask", "polygon": [[0.0, 0.0], [1.0, 0.0], [1.0, 0.5], [0.0, 0.5]]},
                {"id": "house", "kind": "privacy_mask", "polygon": [[0.0, 0.9], [1.0, 0.9], [1.0, 1.0], [0.0, 1.0]]},
                {"id": "bay", "kind": "inspection_bay", "polygon": [[0.0, 0.5], [1.0, 0.5], [1.0, 1.0], [0.0, 1.0]]}
            ]
        }))
        .unwrap();
        let seen = |y1: f32| Detection::whole("car".into(), 0.9, Rect::from([10.0, 0.0, 90.0, y1]));
        let mut detections = vec![seen(240.0), seen(260.0), seen(440.0), seen(499.0)];
        Masks::new(&camera).apply((1000, 500), &mut detections);
        assert_eq!(detections, [seen(260.0), seen(440.0)]);
    }
}
