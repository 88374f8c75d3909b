//! Words in generated file names (cameras, scanners, messengers, browsers, systems), by source.
//!
//! Data in lower case; extend it when a log shows a new word.

/// Extensions of compressed, encrypted, backup and partial files; the extension before them is removed too.
pub(super) const COMPRESSED: &str =
    "gz bz2 xz zst lz lz4 lzma br z gpg asc enc bak part crdownload tmp download";

/// Words without content. A name of only these and numbers has no content.
#[rustfmt::skip]
pub(super) const GENERATED_NAMES: &[&str] = &[
    // Cameras and phones: DCIM prefixes and the words around dates
    "img imag imgp image images img_e dsc dscn dscf dcim pict pic pics picture pxl mvimg mvi mov vid video videos movie clip burst \
        pano panorama photo photos foto fotos portrait night cover edited cam camera gopr gp sam kimg rimg cimg p psx fb \
        snapchat instagram facebook twitter screenrecording screenrecorder lmc gcam wp ios heic jpeg jpg png gif webp pdf \
        docx txt csv mp",
    // Scanners, messengers, recorders
    "scan scans scanned scanner numérisation escaneo digitalizar digitalização scansione escaneado scannable camscanner adobe \
        genius whatsapp telegram signal messenger wa ptt aud audio voice memo recording record rec aufnahme grabación \
        gravação registrazione enregistrement opname nagranie запись 録音 录音 錄音 녹음 음성 tmp temp cache",
    // Browsers and systems, English
    "file files document documents doc docs untitled unnamed noname new copy of download downloads downloaded attachment \
        attachments upload uploads uploaded blob data default output export result clipboard pasted paste screen screenshot screenshots \
        shot screengrab capture snip snippet snapshot text note page folder archive item object media sample example \
        final at am pm the a an and from to on in my this test unknown null undefined none \
        generated original full large small thumb thumbnail resized compressed unbenanntes",
    // German
    "vom bildschirmfoto bildschirmfotos bildschirmaufnahme bild bilder datei dateien dokument dokumente unbenannt kopie von neu \
        neue neuer neues entwurf anhang um scannen textdokument",
    // French
    "capture captures d'écran écran ecran d l de du la le à a fichier fichiers document sans titre nouveau nouvelle copie \
        téléchargement pièce jointe image photo",
    // Spanish, Portuguese, Catalan, Italian
    "captura capturas pantalla de la las del tela ecrã imagen imágenes imagem imagens archivo archivos arquivo arquivos ficheiro \
        documento documentos sin título titulo sem nuevo nueva novo nova copia cópia descarga adjunto anexo às schermata \
        istantanea schermo immagine file senza titolo nuovo copia allegato alle ore bild el",
    // Dutch, Swedish, Danish, Norwegian, Finnish
    "schermafbeelding schermopname afbeelding bestand naamloos kopie nieuw om skärmavbild skärmbild skärmklipp bild fil dokument \
        namnlös kopia ny kl skærmbillede billede unavngivet skjermbilde skjermdump bilde uten tittel kuvakaappaus \
        näyttökuva näyttökaappaus kuva tiedosto asiakirja nimetön kopio",
    // Polish, Czech, Slovak, Romanian, Hungarian, Turkish
    "zrzut ekranu obraz zdjęcie plik dokument bez tytułu nowy kopia snímek obrazovky obrazovka obrázek fotka soubor súbor \
        dokument názvu kopie nový captură de ecran imagine fișier fără titlu képernyőkép képernyőfotó kép fájl \
        dokumentum névtelen másolat ekran görüntüsü resmi alıntısı resim görüntü dosya belge adsız kopyası fotoğraf",
    // Russian, Ukrainian, Bulgarian, Greek
    "снимок экрана скриншот изображение картинка фото фотография видео файл документ без названия имени новый копия в сканирование \
        скан безымянный знімок екрана скріншот зображення назви новий копія снимка екран εικόνα φωτογραφία στιγμιότυπο \
        οθόνης αρχείο έγγραφο χωρίς τίτλο αντίγραφο νέο στις πμ μμ",
    // Arabic, Persian, Hebrew
    "لقطة شاشة الشاشة صورة ملف مستند بدون عنوان جديد نسخة عکس تصویر اسکرین شات پرونده فایل سند صفحه نمایش صילום צילום מסך תמונה קובץ \
        מסמך ללא שם חדש עותק",
    // Hindi, Indonesian, Vietnamese, Thai
    "स्क्रीनशॉट छवि चित्र फ़ाइल दस्तावेज़ cuplikan layar tangkapan gambar berkas dokumen tanpa judul baru salinan pada pukul ảnh chụp màn \
        hình lúc hình tệp tài liệu không tên mới bản sao ภาพถ่ายหน้าจอ สกรีนช็อต รูปภาพ ภาพ ไฟล์ เอกสาร ไม่มีชื่อ",
    // Chinese, Japanese, Korean; with the units of dates
    "截屏 截图 截圖 屏幕截图 螢幕截圖 螢幕快照 屏幕快照 屏幕录制 图片 圖片 微信图片 微信截图 qq图片 qq截图 mmexport 照片 相片 文件 文档 文檔 文書 未命名 未命名文件 无标题 無標題 新建 新建文件 \
        新建文档 新建文本文档 副本 扫描 掃描 扫描件 扫描全能王 下载 下載 附件 视频 影片 上午 下午 年 月 日 时 時 分 秒 スクリーンショット スクショ 画面収録 画像 写真 \
        ファイル ドキュメント 書類 名称未設定 無題 無題のドキュメント 新規 新しい コピー のコピー スキャン ダウンロード 添付ファイル 動画 午前 午後 스크린샷 화면 캡처 캡쳐 \
        이미지 사진 파일 문서 제목 없음 무제 새 사본 복사본 스캔 다운로드 첨부파일 동영상 오전 오후 년 월 일 시 분 초 kakaotalk line",
];
