//! Ignore masks: what stands in one is not there, for the tracker and for every rule.

use crate::config::{AreaKind, CameraConfig};
use crate::geometry::Polygon;
use crate::vision::Detection;

/// The ignore masks of one camera.
#[derive(Debug, Clone)]
pub struct IgnoreMasks(Vec<Polygon>);

impl IgnoreMasks {
    /// The camera's masks.
    #[must_use]
    pub fn new(camera: &CameraConfig) -> Self {
        let masks = camera.areas.iter().filter(|a| a.kind == AreaKind::IgnoreMask);
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
    fn the_foot_decides_and_other_areas_mask_nothing() {
        let camera: CameraConfig = serde_json::from_value(serde_json::json!({
            "id": "c", "url": "rtsp://camera.invalid/1", "area": [
                {"id": "sky", "kind": "ignore_mask", "polygon": [[0.0, 0.0], [1.0, 0.0], [1.0, 0.5], [0.0, 0.5]]},
                {"id": "bay", "kind": "inspection_bay", "polygon": [[0.0, 0.5], [1.0, 0.5], [1.0, 1.0], [0.0, 1.0]]}
            ]
        }))
        .unwrap();
        let seen = |y1: f32| Detection { label: "car".into(), score: 0.9, rect: Rect::from([10.0, 0.0, 90.0, y1]) };
        let mut detections = vec![seen(240.0), seen(260.0), seen(499.0)];
        IgnoreMasks::new(&camera).apply((1000, 500), &mut detections);
        assert_eq!(detections, [seen(260.0), seen(499.0)]);
    }
}
