//! How the loss fell: as numbers, and as a picture.

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

use crate::failure::Failure;
use crate::folder;

/// Width and height of the picture, and what is left around the lines.
const SIZE: (f64, f64) = (720.0, 400.0);
const MARGIN: f64 = 48.0;

/// Losses, in nats for each byte, as training went on.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Curve {
    /// In the order of steps.
    pub points: Vec<Point>,
}

/// After one step.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// The steps that are done.
    pub step: u64,
    /// Of the last step's pieces, before it was taken.
    pub training: f64,
    /// Of the held-out text.
    pub held_out: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    format: &'a str,
    held_out_unigram_entropy: f64,
    points: &'a [Point],
}

impl Curve {
    /// Writes `loss.json` and `loss.svg`.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&self, folder: &Path, entropy: f64) -> Result<(), Failure> {
        let document = Document {
            format: "collective/heavy/loss/v1",
            held_out_unigram_entropy: entropy,
            points: &self.points,
        };
        folder::write_json(folder, "loss.json", &document)?;
        folder::write(folder, "loss.svg", self.picture(entropy).as_bytes())
    }

    fn picture(&self, entropy: f64) -> String {
        let last = self.points.last().map_or(1, |point| point.step).max(1) as f64;
        let losses = self
            .points
            .iter()
            .flat_map(|point| [point.training, point.held_out]);
        let most = losses.fold(entropy, f64::max);
        let place = |step: f64, loss: f64| {
            let x = MARGIN + step / last * (SIZE.0 - 2.0 * MARGIN);
            let y = SIZE.1 - MARGIN - loss / most * (SIZE.1 - 2.0 * MARGIN);
            format!("{x:.1},{y:.1}")
        };
        let line = |loss: fn(&Point) -> f64| -> String {
            let places = self
                .points
                .iter()
                .map(|point| place(point.step as f64, loss(point)));
            places.collect::<Vec<_>>().join(" ")
        };
        let (width, height) = SIZE;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
        );
        let axes = format!(
            "{} {} {}",
            place(0.0, most),
            place(0.0, 0.0),
            place(last, 0.0)
        );
        let entropy_line = format!("{} {}", place(0.0, entropy), place(last, entropy));
        let lines = [
            (axes, "black", ""),
            (entropy_line, "gray", " stroke-dasharray=\"4 4\""),
            (line(|point| point.training), "steelblue", ""),
            (line(|point| point.held_out), "firebrick", ""),
        ];
        for (points, colour, more) in lines {
            let _ = writeln!(
                svg,
                "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\"{more}/>"
            );
        }
        let words = [
            (
                MARGIN,
                MARGIN - 16.0,
                format!("nats for each byte, up to {most:.2}"),
                "black",
            ),
            (width / 2.0, height - 16.0, format!("{last} steps"), "black"),
            (
                width - 220.0,
                20.0,
                "unigram entropy of the held-out text".into(),
                "gray",
            ),
            (width - 220.0, 36.0, "training".into(), "steelblue"),
            (width - 220.0, 52.0, "held out".into(), "firebrick"),
        ];
        for (x, y, text, colour) in words {
            let _ = writeln!(
                svg,
                "<text x=\"{x:.0}\" y=\"{y:.0}\" fill=\"{colour}\">{text}</text>"
            );
        }
        svg + "</svg>\n"
    }
}
