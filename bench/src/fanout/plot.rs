//! The plot: for each case, a bar per contestant with its delivery cost relative to the floor's.

use std::fmt::Write;

use super::report::Report;
use crate::{Result, machine::Measured};

const WIDTH: f64 = 760.0;
/// Where bars begin, and the length of the longest.
const LEFT: f64 = 130.0;
const LONGEST: f64 = 500.0;
const ROW: f64 = 22.0;
const HEAD: f64 = 34.0;
/// A bar longer than this many times the floor's is cut and labelled with its length.
const MOST: f64 = 16.0;

/// The plot of a report, as SVG.
pub fn svg(report: &Report) -> Result<String> {
    let mut body = String::new();
    let mut y = 44.0;
    for case in report.cases() {
        y += HEAD;
        writeln!(
            body,
            r#"<text class="case" x="12" y="{:.0}">{case}</text>"#,
            y - 10.0
        )?;
        for line in report.lines(case) {
            let ratio = line.ratio.median;
            let length = LONGEST / MOST * ratio.clamp(0.0, MOST);
            let class = if line.contestant == "titlecast" {
                "ours"
            } else {
                "theirs"
            };
            writeln!(
                body,
                r#"<text class="name" x="{:.0}" y="{:.0}">{}</text>"#,
                LEFT - 8.0,
                y + 14.0,
                line.contestant
            )?;
            writeln!(
                body,
                r#"<rect class="{class}" x="{LEFT:.0}" y="{y:.0}" width="{length:.1}" height="16"/>"#
            )?;
            let cut = if ratio > MOST { "… " } else { "" };
            writeln!(
                body,
                r#"<text x="{:.1}" y="{:.0}">{cut}{ratio:.2} ×</text>"#,
                LEFT + length + 6.0,
                y + 13.0
            )?;
            y += ROW;
        }
    }
    let busy = report.runs.iter().filter(|run| run.busy()).count();
    if busy > 0 {
        y += ROW;
        let all = report.runs.len();
        writeln!(
            body,
            r#"<text x="12" y="{y:.0}">Other programs kept the machine busy in {busy} of {all} runs.</text>"#
        )?;
    }
    let height = y + 16.0;
    Ok(format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">
<title>What a delivery costs the server, as a multiple of the floor</title>
<style>
text {{ font: 12px sans-serif; fill: #222 }}
.head {{ font-size: 15px; font-weight: bold }}
.case {{ font-weight: bold }}
.name {{ text-anchor: end }}
.ours {{ fill: #d9480f }}
.theirs {{ fill: #adb5bd }}
</style>
<rect width="100%" height="100%" fill="#fff"/>
<text class="head" x="12" y="24">CPU time of the server for one delivery, as a multiple of the floor</text>
<text x="12" y="42">subscribers on conversations; the floor is one bare write() a socket; less is better</text>
{body}</svg>
"##
    ))
}
