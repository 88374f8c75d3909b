//! Word lists by language: phrases before and after a topic, and words that join its parts. Data only.
//!
//! Phrases are in lower case with straight apostrophes, separated by ` | `; `*` matches any one word. Single words are
//! separated by spaces. A new language needs only a new entry here.

use std::ops::RangeInclusive;

/// The word lists of one language.
pub(super) struct Language {
    /// Whether titles are in Title Case.
    pub(super) title_case: bool,
    /// Whether phrases are head-final: a long one is cut at its beginning.
    pub(super) head_last: bool,
    /// Phrases before a topic, or without one: greetings, courtesies, articles, questions that only refer back.
    pub(super) openers: &'static str,
    /// Phrases of request before a topic; they mark the main topic.
    pub(super) asks: &'static str,
    /// Question words, which a topic keeps.
    pub(super) questions: &'static str,
    /// Phrases after a topic.
    pub(super) closers: &'static str,
    /// Endings removed from the last word: attached particles and verbs.
    pub(super) endings: &'static str,
    /// Words that start a part which a long title can drop.
    pub(super) joints: &'static str,
    /// Other function words; a title cannot end with one.
    pub(super) glue: &'static str,
    /// Words that refer to another text ("this").
    pub(super) pointers: &'static str,
    /// Letters that only its script has; they identify a language without word lists.
    pub(super) letters: RangeInclusive<char>,
    /// Whether the capital of i is İ.
    pub(super) dotted_i: bool,
    /// Words that change their form at the start of a title.
    pub(super) headwords: &'static [(&'static str, &'static str)],
}

/// The defaults: no lists.
const NONE: Language = Language {
    title_case: false,
    head_last: false,
    openers: "",
    asks: "",
    questions: "",
    closers: "",
    endings: "",
    joints: "",
    glue: "",
    pointers: "",
    letters: '\0'..='\0',
    dotted_i: false,
    headwords: &[],
};

/// An unknown language.
pub(super) static UNKNOWN: Language = NONE;

pub(super) static CHINESE: Language = Language {
    openers: "你好 | 您好 | 大家好 | 请问 | 谢谢 | 一下 | 我的 | 那个 | 就是 | 最近 | 有什么建议 | 有什么推荐 | 怎么办 | 该怎么办",
    asks: "写一封 | 写一篇 | 写一个 | 写一份 | 写一段 | 请 | 麻烦 | 帮我 | 帮忙 | 给我 | 我想要 | 我想 | 我需要 | 能不能 | 可以帮我 | 能帮我 | 可不可以 | 你能 | 你可以 | 如何 | 怎么样才能 | \
           怎样 | 怎么才能 | 怎么 | 什么是 | 为什么 | 解释一下 | 解释 | 介绍一下 | 告诉我 | 推荐一下 | 有什么办法可以 | 有什么方法可以 | 有没有办法 | 我该如何 | \
           我应该如何 | 我应该怎么 | 我该怎么",
    closers: "吗 | 呢 | 吧 | 谢谢 | 好吗 | 可以吗 | 是什么 | 怎么办 | 该怎么办 | 一下",
    ..NONE
};

pub(super) static JAPANESE: Language = Language {
    head_last: true,
    openers: "こんにちは | こんばんは | おはようございます | はじめまして | すみません | すいません | お願いします | よろしくお願いします | あの | えっと | ちなみに | \
              どうすればいいですか | どうしたらいいですか | 解決方法を教えてください | 解決策を教えてください | 対処法を教えてください | 私の",
    closers: "について教えてください | を教えてください | 教えてください | について教えて | を教えて | 教えて | してください | ください | をお願いします | お願いします | について | \
              を知りたいです | が知りたいです | したいです | したい | とは何ですか | とは | って何ですか | は何ですか | ですか | でしょうか | を考えて | を作って | を書いて | \
              にはどうすればいいですか | はどうすればいいですか | どうすればいいですか | したらいい | がほしい | が欲しい | もらえますか | を紹介して | 方法を | の方法を",
    joints: "の に を は が で と へ や から まで より",
    ..NONE
};

/// The languages with spaces between words, detected by these lists. The first wins a tie.
#[rustfmt::skip]
pub(super) static SPACED: [Language; 13] = [
    // English
    Language {
        title_case: true,
        openers: "hello | hi | hey | there | all | everyone | good morning | good evening | kindly | thanks | \
            thank you | so | ok | okay | well | now | just | basically | actually | also | quick question | question | \
            maybe | q | w | i have a | i have an | i've got a | you can | i think | i guess | i feel | i am | i'm | i've been | i have been | really | very | sorry if this is a dumb question but | \
            i'm sorry if this is a dumb question but | this might be a dumb question but | dumb question but | um | hmm | a | an | the | my | our | some | your | sorry | i'm sorry | \
            sorry for the long post | sorry to bother you | what am i doing wrong | what should i do | what do i do | \
            what can i do | what went wrong | what's wrong | how do i fix this | how do i fix it | how can i fix this | \
            how to fix this | how to fix it | can you help | can you help me | could you help me | please help | \
            please help me | any ideas | any idea | any idea why | any suggestions | any advice | any tips | any help | \
            any tips for | any tips on | any advice on | any advice for | any suggestions for | what do you think | \
            is that normal | is this normal | is it just me | why is this happening | why is that | does that make sense | \
            here is my code | here's my code | here's the code | here is the code | you are | act as | imagine you are | \
            pretend you are | that | about | me | us | this is",
        asks: "i'm thinking about | im thinking about | i am thinking about | thinking about | walk me through | guide me through | please | pls | plz | can you | could you | would you | will you | can u | could u | would you mind | can i | could i | should i | \
            can we | help | help me | help me with | help with | to | with | i want | i wanna | i want you | i would like | i'd like | \
            i would like you | i'd love | i need | i need you | i need help | i need some help | i need advice | i am trying | \
            i'm trying | im trying | trying | i'm looking for | im looking for | i am looking for | looking for | \
            i have a question about | i have a question on | i have this problem where | \
            i have this issue where | i have a problem where | i'm having | i am having | im having | \
            having | i'm getting | im getting | i get | i keep getting | i am getting | getting | tell me | talk about | \
            show me | give me | write a | write an | create a | create an | generate a | draft a | write me | make me | find me | get me | recommend me | teach me | suggest | recommend | \
            explain | explain to me | describe | summarize | summarise | how do i | how do you | how do we | \
            how can i | how can we | how should i | how should we | how would i | how would you | how to | \
            what is | what's | whats | what was | what are | what were | what does | what do | \
            what can i | what should i | the best way | a good way | best way | \
            is it possible | is it possible for | is it ok | is it okay | is it normal for | is it normal | is it safe | is there a way | \
            are there any | is there any | is there a | does anyone know | does anyone know if | does anyone know how | do you know if | if you can | can someone | can anyone | do you know | do you know how | do you have | let's | lets | \
            your task is | your job is | the task is | i was wondering | i was wondering if | i wonder | \
            i'd like to know | i want to know | i'm curious about | any good | i'm working on | im working on",
        questions: "why what which how",
        closers: "with an example | with examples | like i'm 5 | like im 5 | like i'm five | like im five | please | pls | plz | thanks | thanks in advance | thank you | thx | ty | for me | for free | or not | you know | \
            any ideas | any idea | any tips | any help | mean | tbh | lol | right now | or something",
        joints: "and or but in on at for with from by that which who where when while because so if without after before \
            using until since even though about although except through during despite per via",
        glue: "a an the my our your his her their its this these to of is are was were be am been do does did have has had will \
            would can could should not as than we you he she it they into between vs just only very really own \
            any some what how all won't can't don't",
        pointers: "this that these those it they them he she",
        ..NONE
    },
    // German
    Language {
        openers: "hallo | hi | hey | moin | servus | guten tag | guten morgen | guten abend | bitte | danke | also | mal | \
            mir | uns | mal eben | kurze frage | ein | eine | einen | einem | der | die | das | den | mein | meine | meinen | \
            was kann ich tun | was soll ich tun | was kann ich machen | was mache ich falsch | wie geht das | \
            woran kann das liegen | woran liegt das | hast du tipps | hast du eine idee | kannst du mir helfen | \
            können sie mir helfen | kann mir jemand helfen | vielen dank",
        asks: "kannst du | könntest du | können sie | könnten sie | würdest du | hilf mir | hilf mir bei | hilf mir dabei | helfen sie mir | \
            ich möchte | ich will | ich würde gerne | ich würde gern | ich brauche | ich benötige | ich suche | ich habe ein | ich habe eine | \
            ich habe | wie kann ich | wie kann man | wie * ich | wie * man | wie * wir | wie | was ist | was sind | was bedeutet | \
            erkläre | erkläre mir | erklär mir | schreib mir | schreibe mir | schreibe | schreib | erstelle | erstelle mir | gib mir | \
            nenne mir | zeig mir | gibt es | worin besteht | welche | welcher | welches",
        questions: "warum wieso",
        closers: "geben | schreiben | erstellen | erklären | helfen | machen | empfehlen | nennen | zeigen | bitte | danke | \
            vielen dank | für mich",
        joints: "und oder aber in im am an auf für mit von vom zum zur bei aus ohne nach vor seit dass weil wenn damit obwohl über",
        glue: "der die das den dem des ein eine einen einem einer mein meine meinen meinem meiner ist sind wird nicht zu sich \
            ich du er wir ihr zwischen als wie auch nur sehr",
        pointers: "dies diese dieser dieses diesen es das",
        ..NONE
    },
    // French
    Language {
        openers: "bonjour | bonsoir | salut | coucou | merci | s'il te plaît | s'il vous plaît | svp | stp | alors | donc | un | une | \
            le | la | les | des | mon | ma | mes | moi | que faire | que puis-je faire | que dois-je faire | une idée | \
            pouvez-vous m'aider | peux-tu m'aider | à",
        asks: "peux-tu | peux tu | tu peux | pouvez-vous | pourriez-vous | pourrais-tu | est-ce que tu peux | aide-moi à | aidez-moi à | \
            m'aider à | me faire | m'écrire | me donner | m'expliquer | je voudrais | j'aimerais | je veux | je cherche | \
            j'ai besoin de | j'ai besoin d'aide pour | j'ai un | j'ai une | comment puis-je | comment faire | comment | comment faire pour | comment on fait pour | \
            qu'est-ce que | qu'est-ce qu' | c'est quoi | quelle est | quel est | quels sont | quelles sont | explique-moi | \
            expliquez-moi | explique | écris-moi | écris | rédige | rédige-moi | donne-moi | donnez-moi | quel | quelle | \
            est-il possible de | y a-t-il",
        questions: "pourquoi",
        closers: "s'il vous plaît | s'il te plaît | svp | stp | merci | merci d'avance | pour moi",
        joints: "et ou mais en dans sur pour avec par sans que qui quand parce si après avant chez depuis",
        glue: "le la les un une des de du au aux à mon ma mes son sa ses est sont ne pas se entre je tu il elle nous vous ce très plus",
        pointers: "ce cette ces ça cela il elle",
        ..NONE
    },
    // Spanish
    Language {
        openers: "hola | buenas | buenos días | buenas tardes | por favor | gracias | pues | bueno | un | una | el | la | los | las | \
            mi | mis | me | qué puedo hacer | qué hago | qué debo hacer | alguna idea | puedes ayudarme | me puedes ayudar",
        asks: "puedes | podrías | puede | podría | me puedes | ayúdame a | ayudarme a | ayúdame con | quiero | quisiera | me gustaría | \
            necesito | necesito ayuda para | necesito ayuda con | estoy buscando | busco | tengo un | tengo una | cómo puedo | como puedo | \
            cómo se | cómo | como | qué es | que es | qué son | cuál es | cual es | cuáles son | explícame | explica | \
            escríbeme | escribe | dame | recomiéndame | hazme | por qué | es posible | darme | hacerme | escribirme",
        closers: "por favor | gracias | muchas gracias | para mí",
        joints: "y e o pero en con por para sin que cuando porque si desde hasta sobre",
        glue: "el la los las un una unos unas de del a al mi mis su sus es son no se entre lo le me te muy más yo",
        pointers: "esto eso este esta estos estas ello",
        ..NONE
    },
    // Portuguese
    Language {
        openers: "oi | olá | ola | bom dia | boa tarde | boa noite | tudo bem | por favor | obrigado | obrigada | um | uma | o | a | os | as | \
            meu | minha | meus | minhas | me | o que eu faço | o que fazer | o que posso fazer | alguma dica | pode me ajudar",
        asks: "você pode | pode | poderia | você poderia | me ajude a | me ajuda a | me ajudar a | quero | queria | eu quero | gostaria de | preciso | preciso de | \
            preciso de ajuda para | preciso de ajuda com | estou procurando | tenho um | tenho uma | como posso | como faço para | como faço pra | como eu faço para | \
            como | o que é | o que são | qual é | qual a | quais são | explique | me explica | me explique | escreva | crie | faça | me dê | \
            por que | é possível",
        closers: "por favor | obrigado | obrigada | para mim | pra mim",
        joints: "e ou mas em no na nos nas com por para sem que quando porque se desde até sobre",
        glue: "o a os as um uma de do da dos das ao à meu minha seu sua é são não se entre me muito mais eu",
        pointers: "isso isto este esta esse essa ele ela",
        ..NONE
    },
    // Italian
    Language {
        openers: "ciao | salve | buongiorno | buonasera | per favore | per piacere | grazie | allora | un | una | uno | il | lo | la | i | gli | le | \
            mio | mia | cosa posso fare | cosa devo fare | come posso fare | puoi aiutarmi | mi puoi aiutare | qualche idea",
        asks: "puoi | potresti | può | mi puoi | mi potresti | aiutami a | aiutarmi a | vorrei | voglio | ho bisogno di | ho bisogno di aiuto per | \
            ho un | ho una | sto cercando | cerco | come posso | come si fa | come si fanno | come fare | come si | come | cos'è | che cos'è | cosa sono | qual è | quali sono | spiegami | \
            spiega | spiegarmi | scrivi | scrivimi | scrivermi | dammi | darmi | consigliami | consigliarmi | consigliare | suggeriscimi | perché | è possibile",
        closers: "per favore | grazie | grazie mille | per me",
        joints: "e o ma in nel nella con per senza che quando perché se da su sulla sul dopo prima",
        glue: "il lo la i gli le un una uno di del della dei delle a al alla mio mia suo sua è sono non si tra fra più molto",
        pointers: "questo questa questi queste ciò",
        ..NONE
    },
    // Dutch
    Language {
        openers: "hallo | hoi | goedemorgen | goedemiddag | alsjeblieft | alstublieft | bedankt | dus | een | de | het | mijn | me | mij | \
            wat kan ik doen | wat moet ik doen | kun je me helpen | kan je me helpen",
        asks: "kun je | kan je | kunt u | zou je | help me | help mij | help me met | ik wil | ik wil graag | ik zoek | ik heb hulp nodig bij | \
            ik heb een | hoe kan ik | hoe moet ik | hoe * ik | hoe * je | hoe | wat is | wat zijn | leg uit | schrijf | maak | geef me | waarom",
        closers: "geven | schrijven | maken | uitleggen | alsjeblieft | bedankt | dank je",
        joints: "en of maar in op voor met van bij zonder na dat die omdat als",
        glue: "de het een mijn jouw zijn haar is niet te ik je tussen",
        pointers: "dit dat deze het",
        ..NONE
    },
    // Polish
    Language {
        openers: "cześć | hej | witam | dzień dobry | proszę | dziękuję | dzięki | mój | moja | moje | mi | co mam zrobić | co robić | \
            czy możesz mi pomóc | możesz mi pomóc",
        asks: "czy możesz | możesz | mógłbyś | czy mógłbyś | pomóż mi | pomóż mi napisać | chcę | chciałbym | chciałabym | potrzebuję | szukam | mam | \
            jak mogę | napisz mi | co to jest | co to | czym jest | jaka jest | jaki jest | wyjaśnij | wyjaśnij mi | wytłumacz | \
            wytłumacz mi | podaj | daj mi | czy można",
        questions: "jak dlaczego napisz",
        closers: "proszę | dziękuję | dzięki | dla mnie",
        joints: "i lub albo ale w we na dla z ze do od bez po przed przy który która które że gdy kiedy jeśli bo",
        glue: "a o u jest są nie się między mój moja to ten ta",
        pointers: "to ten ta te tego",
        headwords: &[("różnicę", "Różnica"), ("pomocy", "Pomoc"), ("przepisu", "Przepis"), ("napisz", "Napisać")],
        ..NONE
    },
    // Turkish
    Language {
        head_last: true,
        dotted_i: true,
        openers: "merhaba | selam | selamlar | iyi günler | lütfen | teşekkürler | bana | benim | şey | acaba | ne yapmalıyım | ne yapabilirim | \
            yardımcı olur musun | yardım eder misin | bir",
        asks: "bana bir | nasıl",
        closers: "yapar mısın | yazar mısın | yazabilir misin | yapabilir misin | hazırlar mısın | hazırlayabilir misin | verir misin | anlatır mısın | açıklar mısın | \
            önerir misin | hakkında bilgi ver | hakkında bilgi verir misin | yaz | hazırla | yardım et | yardımcı olur musun | istiyorum | lazım | nedir | ne demek | \
            lütfen | teşekkürler | oluştur | öner | konusunda | arıyorum | önerisi",
        glue: "ve ile için ama veya bir bu şu o da de mi mı mu mü nasıl neden neler nerede hangi kaç en çok daha",
        pointers: "bu şu o bunu",
        ..NONE
    },
    // Russian
    Language {
        openers: "привет | здравствуйте | добрый день | добрый вечер | пожалуйста | спасибо | ну | вот | короче | мой | моя | мне | что делать | \
            что мне делать | как быть | помогите | помоги | можешь помочь | подскажи | подскажите | в чём дело | в чем дело",
        asks: "можешь | можете | не могли бы вы | помоги мне | помогите мне | помоги | помогите | хочу | я хочу | мне нужно | мне нужна | мне нужен | нужно | нужна | нужен | \
            ищу | как мне | как можно | что такое | объясни | объясните | объясни мне | расскажи о | расскажи про | \
            расскажи | дай | посоветуй | посоветуйте | почему | почему у меня | почему мой | у меня | в чём | в чем | подскажи как | подскажите как",
        questions: "как какая какой какие зачем напиши напишите составь",
        closers: "пожалуйста | спасибо | спасибо заранее | для меня",
        joints: "и или но в во на для с со из от до без по при после перед который которая которые что когда если потому чтобы через",
        glue: "а о об не к ко у за мой моя это между я ты он она мы бы ли же",
        pointers: "это этот эта эти этого",
        headwords: &[("разницу", "Разница"), ("напиши", "Написать"), ("напишите", "Написать"), ("составь", "Составить")],
        letters: 'а'..='я',
        ..NONE
    },
    // Arabic
    Language {
        openers: "مرحبا | مرحباً | أهلا | السلام عليكم | من فضلك | لو سمحت | شكرا | صباح الخير | مساء الخير | لي | ماذا أفعل | هل يمكنك مساعدتي",
        asks: "كيف يمكنني | كيف أستطيع | كيف | أريد | أريد أن | اريد | أحتاج إلى | أحتاج | هل يمكنك | هل يمكن | ساعدني في | ساعدني | مساعدتي في | ما هو | ما هي | \
            ما | اشرح لي | اشرح | اكتب لي | اكتب | أعطني | لماذا | أبحث عن | عندي | لدي",
        closers: "من فضلك | لو سمحت | شكرا | شكراً",
        joints: "في على من إلى مع عن أو ثم لكن بدون بعد قبل الذي التي حتى عند",
        glue: "و لا هذا هذه بين أن ما هو هي",
        pointers: "هذا هذه ذلك",
        letters: 'ء'..='ي',
        ..NONE
    },
    // Hindi
    Language {
        head_last: true,
        openers: "नमस्ते | हैलो | हाय | कृपया | धन्यवाद | मुझे | मेरे | मेरी | मेरा | अपने | अपनी | एक | आप | मैं | क्या आप | क्या | मैं क्या करूं | मुझे क्या करना चाहिए",
        asks: "मुझे बताएं | मुझे बताओ | क्या आप मुझे | मैं अपने | मैं अपनी",
        closers: "लिखने में मदद करें | लिखने में मदद करो | में मदद करें | में मदद करो | मदद करें | मदद चाहिए | के बारे में बताएं | के बारे में बताओ | के बारे में बताइए | \
            बताएं | बताओ | बताइए | समझाएं | समझाओ | समझाइए | लिखें | लिखो | दीजिए | दो | कृपया | धन्यवाद | चाहिए | बता सकते हैं | क्या है | क्या होता है | को | \
            कर सकते हैं | सकते हैं | चाहता हूं | चाहता हूँ | चाहती हूं | चाहती हूँ",
        glue: "का की के को में से पर और या ने है हैं लिए एक यह वह तो भी",
        pointers: "यह इस इसे वह",
        letters: 'अ'..='ह',
        ..NONE
    },
    // Korean
    Language {
        head_last: true,
        openers: "안녕하세요 | 안녕 | 저기요 | 혹시 | 제 | 저는 | 제가 | 나는 | 내가 | 좀 | 감사합니다 | 어떻게 해야 하나요 | 어떻게 하죠 | 도와주세요 | 도와줘",
        asks: "저에게 | 나에게",
        endings: "을 를 해줘 해주세요 해줄래 해줄래요 해주실래요",
        closers: "왜 그런가요 | 왜 그래 | 왜 그럴까요 | 알려주세요 | 알려줘 | 알려 주세요 | 해주세요 | 해줘 | 짜줘 | 짜주세요 | 써줘 | 써주세요 | 만들어줘 | 만들어주세요 | 작성해줘 | 작성해주세요 | 설명해줘 | \
            설명해주세요 | 추천 좀 | 부탁해 | 부탁드립니다 | 부탁해요 | 좀 | 싶어요 | 싶어 | 뭐야 | 어떻게 해야 하나요 | 어떻게 하나요 | 어떻게 해야 해 | 어떻게 해 | 무엇인가요 | 뭔가요 | 있나요 | 있을까요 | 궁금해요 | 대해 | 도와줘 | 도와주세요",
        glue: "및 또는 그리고 수 더 잘",
        pointers: "이 그 저 이거 이것",
        letters: '가'..='힣',
        ..NONE
    },
];
