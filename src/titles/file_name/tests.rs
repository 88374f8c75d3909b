//! File names chosen by users, and generated file names.

use proptest::prelude::*;

use super::*;
use crate::titles::clean::clean;

fn title_from_default(names: &[&str]) -> Option<Title> {
    title_from(names, Limits::DEFAULT)
}

fn title(name: &str) -> Option<String> {
    title_from_default(&[name]).map(|title| title.to_string())
}

#[test]
fn names_that_people_gave_become_titles() {
    #[rustfmt::skip]
    let table = [
        ("quarterly_report-2025.pdf", "Quarterly report 2025"),
        ("Lebenslauf Müller.docx", "Lebenslauf Müller"),
        ("Mu\u{308}ller.txt", "Müller"),
        ("MyThesisDraft_v3.tex", "My Thesis Draft v3"),
        ("議事録_2025年4月.pdf", "議事録 2025年4月"),
        ("JavaScript.pdf", "JavaScript"), ("GitHub-Actions-guide.md", "GitHub Actions guide"), ("LaTeXCheatSheet.pdf", "LaTeXCheatSheet"),
        ("iPhone manual.pdf", "iPhone manual"),
        ("project-plan-final.docx", "Project plan final"),
        ("budget 2024-2025.xlsx", "Budget 2024-2025"), ("minutes-2025-04-01.txt", "Minutes 2025-04-01"),
        ("e-mail-policy.docx", "E-mail policy"), ("Jean-Pierre Martin - CV.pdf", "Jean-Pierre Martin - CV"),
        ("john.doe.resume.pdf", "John doe resume"), ("release notes v1.2.3.md", "Release notes v1.2.3"),
        ("backup-site.tar.gz", "Backup site"), ("dump.sql.gz", "Dump"),
        ("invoice (2).pdf", "Invoice"), ("Report (2025).pdf", "Report (2025)"),
        ("C:\\Users\\me\\Tax return.pdf", "Tax return"), ("/tmp/a/b/Tax return.pdf", "Tax return"), ("../x/plan.md", "Plan"),
        ("My%20Report.pdf", "My Report"), ("50%off.txt", "50%off"), ("R%C3%A9sum%C3%A9.pdf", "Résumé"), ("a%2Fplan.txt", "Plan"),
        ("отчёт_за_квартал.docx", "Отчёт за квартал"), ("تقرير الربع.pdf", "تقرير الربع"), ("보고서-최종.hwp", "보고서 최종"),
        ("ანგარიში.pdf", "ანგარიში"), ("रिपोर्ट.pdf", "रिपोर्ट"),
        ("README", "README"), ("Dockerfile", "Dockerfile"), (".gitignore", ".gitignore"),
        ("invoice-550e8400-e29b-41d4-a716-446655440000.pdf", "Invoice"),
        ("IMG_1234 Kyoto.jpg", "IMG 1234 Kyoto"), ("Screenshot of login bug.png", "Screenshot of login bug"),
        ("plan\u{202E}fdp.exe", "Planfdp"), ("pl\u{0}an\n.pdf", "Plan"), ("**Plan**.md", "Plan"),
        ("one two three four five six seven eight nine ten eleven twelve.pdf", "One two three four five six seven eight nine ten"),
        ("internationalisation considerations concerning characterisation procedures.pdf",
            "Internationalisation considerations concerning"),
    ];
    for (name, expected) in table {
        assert_eq!(title(name).as_deref(), Some(expected), "{name:?}");
    }
    assert_eq!(title(&"京都".repeat(40)), Some("京都".repeat(30)));
}

#[test]
fn names_that_say_nothing_give_no_title() {
    #[rustfmt::skip]
    let names = [
        "", " ", ".", "..", "/", "a/", ".pdf", "IMG_1234.jpg", "img_1234 (2).HEIC", "IMG-20250101-WA0003.jpg", "IMG_E1234.JPG", "image.png", "image (3).png",
        "image0.jpeg", "Screenshot 2025-11-23 at 10.12.33.png", "Screenshot_20251123-101233.png", "Screenshot 2025-11-23 at 10.12.33\u{202F}AM.png",
        "Screen Shot 2020-01-01 at 1.02.03 PM.png", "DSC00012.JPG", "DSC_0012.NEF", "DSCN0001.jpg", "P1010001.JPG", "GOPR0001.MP4",
        "scan0001.pdf", "Scan 3.pdf", "document.pdf", "Document (1).docx", "doc1.docx", "untitled(1).docx", "Untitled document.pdf", "file", "file.txt",
        "photo-2025-01-01.jpeg", "photo_2025-01-01_10-11-12.jpg", "WhatsApp Image 2025-01-01 at 10.11.12.jpeg", "WhatsApp Video 2025-01-01 at 10.11.12.mp4",
        "PXL_20250101_101112123.jpg", "PXL_20250101_101112123.MP.jpg", "VID_20250101_101112.mp4", "download (3)", "download.jpeg",
        "550e8400-e29b-41d4-a716-446655440000.png", "550e8400e29b41d4a716446655440000.png", "d41d8cd98f00b204e9800998ecf8427e", "a3f5c9e1b2.bin",
        "1732350000.pdf", "2025-11-23.pdf", "20251123_101112.pdf", "10.12.33", "v2.pdf", "a.pdf", "x1.txt", "a1b2c3d4e5f6g7.png",
        "Bildschirmfoto 2025-11-23 um 10.12.33.png", "Bildschirmfoto vom 2025-11-23 10-12-33.png", "Unbenannt.odt", "Neues Textdokument.txt", "Dokument1.docx", "Capture d’écran 2025-11-23 à 10.12.33.png",
        "Capture d'écran 2025-11-23 101112.png", "Captura de pantalla 2025-11-23 a las 10.12.33.png", "Captura de Tela 2025-11-23 às 10.12.33.png", "Schermata 2025-11-23 alle 10.12.33.png", "Schermafbeelding 2025-11-23 om 10.12.33.png",
        "Skärmavbild 2025-11-23 kl. 10.12.33.png", "Zrzut ekranu 2025-11-23 101112.png", "Ekran Resmi 2025-11-23 10.12.33.png", "Ekran görüntüsü 2025-11-23 101112.png",
        "Снимок экрана 2025-11-23 в 10.12.33.png", "Знімок екрана 2025-11-23.png", "スクリーンショット 2025-11-23 10.12.33.png", "スクリーンショット (3).png", "画像.png", "名称未設定.pdf", "無題のドキュメント.docx",
        "截屏2025-11-23 10.12.33.png", "屏幕截图 2025-11-23 101233.png", "微信图片_20251123101112.jpg", "新建文本文档.txt", "2025年11月23日.pdf", "스크린샷 2025-11-23 오전 10.12.33.png", "제목 없음.docx",
        "لقطة شاشة 2025-11-23.png", "צילום מסך 2025-11-23.png", "New chat.pdf", "🚀.png", "###.md", "\u{202E}\u{0}.pdf", "file%20(1).pdf", "KakaoTalk_20251123_101112.jpg", "mmexport1732350000.jpg",
    ];
    for name in names {
        assert_eq!(title(name), None, "{name:?}");
    }
    assert_eq!(title(&"plan ".repeat(1_000)), None);
}

#[test]
fn the_first_name_that_says_something_wins() {
    let names = ["IMG_1.jpg", "Tax return.pdf", "Plan.md"];
    assert_eq!(
        title_from_default(&names)
            .map(|title| title.to_string())
            .as_deref(),
        Some("Tax return")
    );
    assert_eq!(title_from_default(&["image.png", "scan.pdf"]), None);
    assert_eq!(title_from_default(&[]), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_title_from_any_name_is_clean(name in prop_oneof![
        any::<String>(),
        "[a-zA-Z0-9_. %()'\\[\\]{}\"*`<>é京\u{301}🚀\u{200D}-]{0,90}(\\.[a-z]{1,4})?",
        "([A-Z][a-z]{0,9}[ _.-]?){0,14}\\.pdf",
    ]) {
        if let Some(title) = title_from_default(&[&name]) {
            prop_assert_eq!(clean(title.as_str()), Ok(title.clone()));
            prop_assert_eq!(single_line(title.as_str()), title.as_str());
        }
    }
}
