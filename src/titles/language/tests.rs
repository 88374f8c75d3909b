//! Tags, the prompt's sentence, and titles in the wrong script.

use proptest::prelude::*;

use super::*;

fn language(text: &str) -> TitleLanguage {
    text.parse().unwrap()
}

#[test]
fn tags_are_parsed_and_shown_in_canonical_case() {
    for (text, shown) in [
        ("AUTO", "AUTO"),
        ("auto", "AUTO"),
        (" Auto ", "AUTO"),
        ("EN", "en"),
        ("pt-br", "pt-BR"),
        ("ZH-hant-tw", "zh-Hant-TW"),
        ("sr-latn", "sr-Latn"),
        ("de-1996", "de-1996"),
        ("es-419", "es-419"),
        ("fil", "fil"),
    ] {
        assert_eq!(language(text).to_string(), shown);
        assert_eq!(language(shown), language(text));
    }
    #[rustfmt::skip]
    let invalid = [
        "", " ", "e", "english", "deutsch", "pt_BR", "pt-", "-", "und", "und-Latn", "日本語", "en-US-u-ca-buddhist",
        "x-private", "ja; ignore", "zh-yue", "en US", "Latn",
    ];
    for text in invalid {
        assert_eq!(
            text.parse::<TitleLanguage>(),
            Err(InvalidLanguage),
            "{text:?}"
        );
    }
}

#[test]
fn the_prompt_names_the_language() {
    assert_eq!(
        instruction(&TitleLanguage::Auto),
        "Use the language of the message."
    );
    assert_eq!(
        instruction(&language("pt-br")),
        "Write it in the language \"pt-BR\", whatever the language of the message."
    );
}

#[test]
fn titles_in_the_message_s_script_fit() {
    #[rustfmt::skip]
    let table = [
        ("Plan a trip to Kyoto", "Kyoto Trip Plan"),
        ("Plane eine Reise nach Kyoto", "Kyoto Trip Plan"),
        ("京都旅行の計画を立てて", "京都旅行の計画"),
        ("京都旅行の計画を立てて", "旅行計画"),
        ("京都旅行の計画を立てて", "プラン"),
        ("请帮我写一封辞职信", "辞职信"),
        ("교토 여행 계획을 세워줘", "교토 여행 계획"),
        ("교토(京都) 여행", "교토 여행"),
        ("Как приготовить борщ?", "Рецепт борща"),
        ("كيف أطبخ الأرز؟", "طريقة طبخ الأرز"),
        ("איך מבשלים אורז", "בישול אורז"),
        ("चावल कैसे पकाएं", "चावल पकाना"),
        ("ভাত রান্না", "ভাত"),
        ("Πώς μαγειρεύω ρύζι", "Μαγείρεμα ρυζιού"),
        ("วิธีหุงข้าว", "การหุงข้าว"),
        // Terms of another script inside.
        ("Rustの所有権を説明して", "Rustの所有権"),
        ("ReactのuseEffectで無限ループになるのを直したい", "useEffectの無限ループ"),
        ("API를 어떻게 만들어요", "API 만들기"),
        ("Как настроить nginx?", "Настройка nginx"),
        // A mixed message may have either, with terms of the other.
        ("what does 猫 mean", "Meaning of 猫"),
        ("Translate 'thank you' 谢谢", "谢谢的翻译"),
        ("what does 猫 mean", "Meaning of Neko"),
        ("Translate ありがとうございます to English please", "Polite Thanks"),
        ("iPhone 15 Proの価格", "iPhone 15 Pro"),
        ("TypeScriptでNestJSのDependencyInjectionを使う方法", "NestJS Dependency Injection"),
        // Not judged.
        ("Plan a trip", "2026"),
        ("京都", "2026 🎌"),
        ("???", "Kyoto"),
        ("", "京都"),
        ("https://example.com/a/b", "リンク"),
        ("```\nfn main() {}\n```", "主な関数"),
        ("京都はhttps://example.com/very/long/path/of/latin/wordsを見て", "京都"),
        ("このコードを直して\ndef f(x):\n    return the sum of all\n", "コード修正"),
    ];
    for (message, title) in table {
        assert!(
            fits(title, message, &TitleLanguage::Auto),
            "{message}: {title}"
        );
    }
}

#[test]
fn titles_in_another_script_do_not() {
    #[rustfmt::skip]
    let table = [
        ("京都旅行の計画を立てて", "Kyoto Trip Plan"),
        ("京都旅行の計画を立てて", "План поездки"),
        ("京都旅行の計画を立てて", "교토 여행"),
        ("请帮我写一封辞职信", "Resignation Letter"),
        ("请帮我写一封辞职信", "テンプレート"),
        ("교토 여행 계획을 세워줘", "Kyoto Trip"),
        ("교토 여행 계획을 세워줘", "京都旅行"),
        ("Как приготовить борщ?", "Borscht Recipe"),
        ("Как настроить nginx на моём сервере?", "Nginx Setup"),
        ("كيف أطبخ الأرز؟", "Рецепт риса"),
        ("كيف أطبخ الأرز؟", "Cooking Rice"),
        ("איך מבשלים אורז", "Cooking Rice"),
        ("चावल कैसे पकाएं", "Cooking Rice"),
        ("วิธีหุงข้าวให้อร่อย", "Cooking Rice"),
        ("How do I cook rice?", "米の炊き方"),
        ("How do I cook rice?", "煮饭"),
        ("How do I cook rice?", "Рис"),
        ("新しいiPhone 15 Proのカメラの使い方を詳しく教えてください", "iPhone 15 Pro"),
        ("このURLを要約してください https://example.com/very/long/path/of/latin/words", "Summary"),
        ("次のコードを直してください\n```\nfn main() { println!(\"hello\"); let a = b; }\n```", "Fix Code"),
        ("`let x = some_function(with, many, words)` はどういう意味ですか", "Rust Let Binding"),
        ("~~~\nfn a\n~~~\n修正して", "Fix"),
    ];
    for (message, title) in table {
        assert!(
            !fits(title, message, &TitleLanguage::Auto),
            "{message}: {title}"
        );
    }
}

#[test]
fn a_tag_decides_whatever_the_message() {
    #[rustfmt::skip]
    let table = [
        ("ja", "京都旅行", true), ("ja", "カメラ", true), ("ja", "iPhoneの使い方", true), ("ja", "Kyoto Trip", false),
        ("ja-Latn", "Kyoto Ryokou", true), ("ja-Latn", "京都旅行", false),
        ("zh", "京都旅行", true), ("zh-TW", "京都旅行", true), ("zh-Hans", "カメラ", false), ("zh", "Kyoto", false),
        ("yue", "京都旅行", true), ("ko", "교토 여행", true), ("ko", "京都旅行", false),
        ("en", "Kyoto Trip", true), ("en-GB", "京都旅行", false), ("pt-BR", "Viagem a Kyoto", true),
        ("ru", "Поездка", true), ("ru", "Trip", false), ("uk", "Подорож", true), ("el", "Ταξίδι", true),
        ("sr", "Пут у Кјото", true), ("sr", "Put u Kjoto", true), ("sr", "京都", false), ("sr-Latn", "Пут", false),
        ("sr-Cyrl", "Put", false), ("uz", "Sayohat", true), ("uz", "Саёҳат", true),
        ("ar", "رحلة", true), ("fa", "سفر", true), ("ur", "سفر", true), ("he", "טיול", true), ("yi", "טיול", true),
        ("hi", "यात्रा", true), ("hi-Latn", "Yatra", true), ("bn", "ভ্রমণ", true), ("th", "เที่ยว", true), ("vi", "Chuyến đi", true),
        ("ta", "பயணம்", true), ("ka", "მოგზაურობა", true), ("hy", "Ճամփորդություն", true), ("am", "ጉዞ", true),
        ("ja", "2026", true), ("xx", "Kyoto", true), ("xx", "京都", true), ("xx-Cyrl", "Kyoto", false), ("en-Zyyy", "京都", true),
    ];
    for (tag, title, expected) in table {
        assert_eq!(
            fits(title, "Plan a trip", &language(tag)),
            expected,
            "{tag}: {title}"
        );
    }
}

/// Messages, each with a title that fits and one that does not, by rule.
#[test]
fn the_request_s_own_words_decide() {
    #[rustfmt::skip]
    let table = [
        // Text quoted to be translated or explained does not.
        ("Translate this letter into English please:\n\nУважаемые коллеги, приглашаем вас на конференцию в мае.",
            "Conference Letter Translation", "Приглашение на конференцию"),
        ("Please translate this to English:\n新製品発表会へのご招待をお送りいたします。ご参加をお待ちしております。",
            "Product Launch Invitation", "新製品発表会の翻訳"),
        ("Explain what this Korean proverb means: 가는 말이 고와야 오는 말이 곱다", "Meaning of a Korean Proverb", "한국 속담의 뜻"),
        ("명절에 고향에 갑니다. 날씨가 좋습니다.\n\nTranslate into English.", "Korean Holiday Translation", "명절 번역"),
        ("What does «γνῶθι σεαυτόν» mean?", "Know Thyself Meaning", "Γνώθι σαυτόν"),
        ("> مرحبا بالعالم\nWhat does this say?", "Arabic Greeting Meaning", "معنى مرحبا"),
        ("Can you proofread my Japanese?\n「昨日は学校へ行きました。とても楽しかったです。」\nThanks!", "Japanese Proofreading", "日本語の添削"),
        ("Übersetze bitte ins Deutsche:\n我明天要去北京参加一个会议。", "Übersetzung aus dem Chinesischen", "北京会议"),
        ("Переведи на русский: The quick brown fox jumps over the lazy dog", "Перевод фразы про лису", "Quick Brown Fox"),
        ("请把下面这段话翻译成中文：\nThe quick brown fox jumps over the lazy dog.", "英文句子翻译", "Quick Brown Fox"),
        ("次の文を訳して：\nThe quick brown fox jumps over the lazy dog.", "英文の翻訳", "Quick Brown Fox"),
        ("Как перевести 'こんにちは'?", "Перевод слова こんにちは", "こんにちは"),
        ("Fix the grammar in this sentence: Я пошёл в магазин вчера и купил хлеб", "Russian Grammar Fix", "Исправление грамматики"),
        ("Summarize:\n```\nПривет, мир. Как дела?\n```", "Greeting Summary", "Краткое содержание"),
        // Letters that the message does not have.
        ("Please help me debug a React component that renders twice", "React Component Debugging", "React 组件 Debugging 问题"),
        ("请帮我调试一个渲染两次的 React 组件", "使用 React 调试组件", "React 组件调试 പ്രശ്നം"),
        ("Plan a trip to Kyoto", "Trip to Kyoto", "Trip to 京都"),
        ("Plan a trip to Kyoto", "Kyoto Trip", "Kyoto Trip योजना"),
        ("Plan a trip to Kyoto", "Kyoto Trip", "Kуoto Trip"), // a Cyrillic у
        ("Wie koche ich Reis?", "Reis kochen", "Reis kochen рецепт"),
        ("교토 여행 계획을 세워줘", "교토 여행 계획", "교토 旅行 계획"),
        ("교토 여행 계획을 세워줘", "교토 Trip 계획", "교토 여행 план"),
        ("京都旅行の計画を立てて", "京都旅行の計画", "京都旅行 계획"),
        ("京都旅行の計画を立てて", "京都 JR Pass の計画", "Planning a Trip to 京都"),
        ("京都旅行の計画を立てて", "京都旅行ガイド", "Kyoto Travel Planning 京都"),
        ("Как приготовить борщ?", "Рецепт борща", "Рецепт 罗宋汤"),
        ("Как настроить nginx на сервере?", "Настройка nginx и SSL", "How to настроить nginx"),
        ("كيف أطبخ الأرز؟", "طريقة طبخ الأرز", "طريقة طبخ 米饭"),
        ("चावल कैसे पकाएं", "चावल पकाने की विधि", "चावल پکانے"),
        ("mujhe dilli ki yatra plan karni hai", "Dilli Yatra Plan", "दिल्ली यात्रा योजना"),
        ("Explain the lambda calculus", "λ-Calculus Basics", "λογισμός Basics"),
        ("Как да скувам сарму за славу?", "Кување сарме", "Kuvanje sarme"),
        ("Kako da skuvam sarmu za slavu?", "Kuvanje sarme", "Кување сарме"),
        // Simplified, Traditional, Japanese.
        ("請幫我寫一封辭職信", "辭職信撰寫", "辞职信撰写"),
        ("请帮我写一封辞职信", "辞职信撰写", "辭職信撰寫"),
        ("请帮我写一封辞职信", "辞职信", "辞職届の書き方"),
        ("請問台灣的健保怎麼申請？", "台灣健保申請", "台湾健保申请"),
        ("香港有咩好食嘅點心推介？", "香港點心推介", "香港点心推荐"),
        ("京都旅行の計画を立てて", "京都旅行計画", "京都旅行计划"),
        ("京都旅行の計画を立てて", "旅行計画", "旅行計畫"),
        ("我想学习日语发音", "日语发音学习", "日語発音学習"),
        ("东京旅游攻略", "东京旅游攻略", "東京観光ガイド"),
        ("What does 猫 mean in Chinese?", "Meaning of 猫", "貓的意思"),
    ];
    for (message, good, bad) in table {
        assert!(
            fits(good, message, &TitleLanguage::Auto),
            "{message}: {good}"
        );
        assert!(
            !fits(bad, message, &TitleLanguage::Auto),
            "{message}: {bad}"
        );
    }
    // Han characters alone may be Japanese.
    for title in ["東京駅周辺の観光", "東京駅観光"] {
        assert!(
            fits(title, "東京駅周辺観光案内", &TitleLanguage::Auto),
            "{title}"
        );
    }
}

#[test]
fn an_explicit_standard_is_kept_to() {
    #[rustfmt::skip]
    let table = [
        ("zh-TW", "京都旅行計劃", "京都旅行计划"), ("zh-Hant", "學習日語", "学习日语"), ("zh-HK", "學習日語", "学习日语"),
        ("zh-CN", "京都旅行计划", "京都旅行計劃"), ("zh-Hans", "学习日语", "學習日語"), ("zh-SG", "学习", "學習"),
        ("ja", "京都旅行の計画", "京都旅行计划"), ("ja", "駅弁の種類", "车站便当"), ("yue-Hant-HK", "點心推介", "点心推荐"),
        ("zh-Hant", "日本車站", "日本駅"), ("en", "Kyoto Trip", "Kyoto 旅行 Trip"), ("ja", "京都 JR Pass", "Trip to 京都"),
    ];
    for (tag, good, bad) in table {
        assert!(fits(good, "Plan a trip", &language(tag)), "{tag}: {good}");
        assert!(!fits(bad, "Plan a trip", &language(tag)), "{tag}: {bad}");
    }
    // Without one the message decides.
    assert!(fits("学习日语", "我想学习日语", &language("zh")));
    assert!(!fits("學習日語", "我想学习日语", &language("zh")));
    assert!(fits("學習日語", "Learn Japanese", &language("zh")));
}

#[test]
fn a_long_message_is_judged_by_its_ends() {
    let message = format!("京都の旅{}", " and then some".repeat(20_000));
    assert!(fits("Trip", &message, &TitleLanguage::Auto));
    let message = format!(
        "{}。{}。京都",
        "京".repeat(4_000),
        " and then some".repeat(20_000)
    );
    assert!(!fits("Trip", &message, &TitleLanguage::Auto));
    let began = std::time::Instant::now();
    for piece in ["京", "a ", "я. ", "「", "\"a", "😀", "a京"] {
        let message = piece.repeat((64 << 10) / piece.len());
        let _either = fits("旅行 Trip обед", &message, &TitleLanguage::Auto);
        let _either = fits(
            &piece.repeat(4_096 / piece.len()),
            &message,
            &TitleLanguage::Auto,
        );
    }
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_title_is_judged(title in any::<String>(), message in any::<String>(), tag in "[a-z]{2,3}(-[A-Z][a-z]{3})?") {
        let _ = fits(&title, &message, &TitleLanguage::Auto);
        if let Ok(language) = tag.parse() {
            let _ = fits(&title, &message, &language);
        }
    }

    #[test]
    fn any_language_is_parsed_or_refused(text in "[a-zA-Z0-9_-]{0,12}|\\PC{0,8}") {
        if let Ok(language) = text.parse::<TitleLanguage>() {
            prop_assert_eq!(language.to_string().parse(), Ok(language));
        }
    }

    #[test]
    fn a_message_in_one_script_fits_itself(message in "[a-z ]{1,40}|[а-я ]{1,40}|[一-龠 ]{1,40}|[ぁ-ゖ]{1,40}|[가-힣 ]{1,40}") {
        prop_assert!(fits(&message, &message, &TitleLanguage::Auto));
    }
}
