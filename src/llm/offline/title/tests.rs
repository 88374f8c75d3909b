//! Typical messages and the titles that users see, and hostile messages.

use proptest::prelude::*;

use super::*;

/// Typical messages, by language.
#[rustfmt::skip]
const MESSAGES: &[(&str, &str)] = &[
    ("en", "Can you help me plan a trip to Kyoto in April?"),
    ("en", "hey so basically i have this problem where my laptop wont connect to the wifi after the windows update, it worked fine yesterday. any ideas"),
    ("en", "I'm getting `TypeError: undefined is not a function` when I call map on my array:\n```js\nconst xs = getItems();\nxs.map(x => x.id);\n```\nWhat am I doing wrong?"),
    ("en", "I've been working at the same company for six years and my manager just told me there's no budget for raises. I have an offer from a competitor for 20% more. How should I negotiate a higher salary with my current employer?"),
    ("en", "Please rewrite this email so it sounds more professional:\n\nHi Dave,\ncan u send me the report asap? i need it for the meeting tmrw. thx\nSam"),
    ("en", "write me a python script that renames all files in a folder by date taken"),
    ("en", "A train leaves Chicago at 60 mph and another leaves New York at 80 mph. They are 790 miles apart. When do they meet?"),
    ("en", "I want to make dinner tonight. I have:\n- chicken thighs\n- half a lemon\n- rice\nWhat can I cook with these ingredients?"),
    ("en", "My 3 year old refuses to eat vegetables and we've tried everything. Any tips for picky toddlers?"),
    ("en", "You are a senior copywriter. Your task is to write a tagline for a coffee shop in Brooklyn that only opens at night."),
    ("en", "My landlord is refusing to return my security deposit even though I left the apartment clean. I live in California. What are my legal options?"),
    ("en", "Hello! I hope you're doing well. I'm a second-year nursing student and I'm really struggling with pharmacology. Could you create a study schedule for my exam in two weeks?"),
    ("de", "Kannst du mir bitte ein Rezept für glutenfreies Brot geben?"),
    ("de", "Hallo, ich habe ein Problem mit meiner Heizung. Seit gestern wird der Heizkörper im Schlafzimmer nicht mehr warm. Was kann ich tun?"),
    ("de", "wie schreibe ich eine kündigung für meinen handyvertrag"),
    ("fr", "Bonjour, pourriez-vous m'aider à planifier un voyage en Bretagne avec deux enfants ?"),
    ("fr", "comment faire une sauce béchamel sans grumeaux"),
    ("es", "hola necesito una carta de presentacion para un trabajo de camarero, no tengo experiencia"),
    ("es", "¿Cómo puedo aprender a tocar la guitarra en casa sin profesor?"),
    ("pt", "Oi, tudo bem? Preciso de ajuda para montar um treino de musculação para iniciantes"),
    ("pt", "Como faço para cancelar minha assinatura da academia?"),
    ("it", "Ciao, mi puoi consigliare un itinerario di tre giorni a Roma?"),
    ("it", "Scrivi una poesia sulla pioggia per mia nonna"),
    ("ru", "привет, почему у меня не запускается docker на windows 11?"),
    ("ru", "Как испечь хлеб без дрожжей?"),
    ("pl", "Cześć, jak napisać wypowiedzenie umowy o pracę?"),
    ("pl", "Mam problem z drukarką, nie drukuje w kolorze. Co robić?"),
    ("tr", "Merhaba, İstanbul'da üç günlük bir gezi planı yapar mısın?"),
    ("tr", "Bana kahvaltı için kolay bir tarif verir misin"),
    ("ar", "كيف يمكنني تعلم اللغة الإنجليزية بسرعة؟"),
    ("ar", "مرحبا، أريد كتابة سيرة ذاتية لوظيفة محاسب"),
    ("hi", "मुझे अपने छोटे भाई के जन्मदिन के लिए एक भाषण लिखने में मदद करें"),
    ("hi", "क्या आप मुझे वजन कम करने का डाइट प्लान बता सकते हैं?"),
    ("ja", "こんにちは。来週の会議で使う自己紹介のスピーチを英語で書いてもらえますか？"),
    ("ja", "ReactでuseEffectが2回実行されるのはなぜですか？"),
    ("ja", "最近仕事が忙しくて眠れません。ストレス解消法を教えてもらえますか？"),
    ("zh", "我最近总是失眠，晚上两三点才能睡着，有什么办法可以改善睡眠质量吗？"),
    ("zh", "我的电脑突然蓝屏了，怎么办？"),
    ("ko", "안녕하세요, 파이썬으로 웹 크롤러 만드는 방법을 알려주세요"),
    ("ko", "서울에서 2박 3일 여행 일정 짜줘"),
];

#[test]
fn titles_as_a_user_reads_them() {
    let rows = MESSAGES.iter().map(|(language, message)| {
        let message_line = message.replace('\n', " ⏎ ");
        format!("{language}  {message_line}\n    {}\n", title(message))
    });
    insta::assert_snapshot!(rows.collect::<String>());
}

#[test]
fn titles_name_the_topic() {
    #[rustfmt::skip]
    let table = [
        ("Hi! Can you help me plan a trip to Kyoto?", "Plan a Trip to Kyoto"),
        ("How do I fix a borrow checker error in Rust?", "Fix a Borrow Checker Error in Rust"),
        ("Please explain the difference between TCP and UDP", "Difference Between TCP and UDP"),
        ("I want to write a wedding speech, for my brother", "Wedding Speech for My Brother"),
        ("what’s a monad", "Monad"),
        ("How to make sourdough bread at home with only flour and water", "Make Sourdough Bread at Home"),
        ("Why does std::move not move in C++?", "Why Does std::move Not Move in C++"),
        ("see https://example.com/a and fix my iPhone battery please", "Fix My iPhone Battery"),
        ("hi-fi speakers", "Hi-fi Speakers"),
        ("Hello", "Hello"),
        ("  \n", ""),
        ("🎌", ""),
        ("Kannst du mir bitte ein Rezept für Brot geben?", "Rezept für Brot"),
        ("Bonjour, pourriez-vous m'aider à planifier un voyage ?", "Planifier un voyage"),
        ("¿Cómo puedo aprender guitarra, por favor?", "Aprender guitarra"),
        ("京都旅行の計画を教えてください。", "京都旅行の計画"),
        ("你好，请帮我写一封辞职信", "辞职信"),
    ];
    for (message, expected) in table {
        assert_eq!(title(message), expected, "{message}");
    }
}

/// The features that `tools/offline-titles/train.py` learns from, and the titles that a table of weights makes, for its
/// evaluation.
#[test]
#[ignore = "run by tools/offline-titles/train.py"]
fn features_and_titles_of_a_set() {
    let path = |name| {
        format!(
            "{}/target/offline-titles/{name}",
            env!("CARGO_MANIFEST_DIR")
        )
    };
    let text = |name| std::fs::read_to_string(path(name)).unwrap();
    let weights = Weights::of(text("table").leak());
    let set = text("set");
    let rows = set.lines().map(|line| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let sentences = sentences(row["message"].as_str().unwrap());
        let message = english::Message::of(&sentences);
        let (words, own) = (message.features(), message.own_features());
        let title = title_of(&sentences, &weights);
        format!(
            "{}\n",
            serde_json::json!({ "words": words, "message": own, "title": title })
        )
    });
    std::fs::write(path("output"), rows.collect::<String>()).unwrap();
}

#[test]
fn titles_stay_short_whatever_comes() {
    for message in [
        "alpha beta ".repeat(25_000),
        "x".repeat(256 * 1024),
        "漢字".repeat(43_000),
        "あの".repeat(43_000),
        "é ".repeat(80_000),
        "a. ".repeat(80_000),
        "a, can you ".repeat(22_000),
        "[](".repeat(85_000),
        "the\n".repeat(64 * 1024),
        "को ".repeat(30_000),
    ] {
        assert_fits(&title(&message));
    }
}

proptest! {
    #[test]
    fn any_text_is_titled_in_its_own_words(message in "[a-zà-ÿ .,:;?!\"'`(){}<>\n😀かな漢字한글हि-]{0,200}") {
        assert_fits(&title(&message));
    }

    #[test]
    fn words_give_a_title(message in "[a-z]{1,12}( [a-z]{1,12}){0,20}[.?!]?") {
        prop_assert_ne!(title(&message), "");
    }
}

#[track_caller]
fn assert_fits(title: &str) {
    assert!(title.graphemes(true).count() <= MAX_GRAPHEMES, "{title}");
    assert!(title.split(' ').count() <= 10, "{title}");
}
