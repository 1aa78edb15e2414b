"""How the page looks: light and dark, wide and narrow, on paper, and without relying on colour alone."""

from learnkit.interpretation.report.tables import MOST_COLUMNS

__all__ = ["STYLE"]

DARK = """
--bg:#15171b;--card:#1d2026;--ink:#e9ebee;--soft:#aab1bb;--line:#343a43;--link:#7cc0f5;--focus:#ffd166;
--right:#4b9fd8;--wrong:#b96524;--c0:#6cb6ee;--c1:#f0a35e;--c2:#5fc9a0;--c3:#e29ac6;--c4:#e8d35f;--c5:#b7a6f0;
--band:#264a66;--shadow:none;
"""

LOOK = """
:root{color-scheme:light dark;
--bg:#f6f7f8;--card:#fff;--ink:#1a1d21;--soft:#565d66;--line:#dfe3e7;--link:#005a94;--focus:#b3471b;
--right:#3f93cc;--wrong:#e2843b;--c0:#0072b2;--c1:#c65102;--c2:#00805f;--c3:#a8508a;--c4:#7d6b00;--c5:#5b4bb0;
--band:#cfe4f3;--shadow:0 1px 2px #0000000f,0 1px 8px #0000000a}
@media screen and (prefers-color-scheme:dark){:root{DARK}}
*{box-sizing:border-box}
html{scroll-behavior:smooth;scroll-padding-top:1rem}
body{margin:0;background:var(--bg);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;font-variant-numeric:tabular-nums}
.page{display:grid;grid-template-columns:12rem minmax(0,1fr);gap:3rem;max-width:86rem;margin:0 auto;padding:2.5rem 2rem}
nav{position:sticky;top:2.5rem;align-self:start;font-size:.9rem}
nav p{margin:0 0 .5rem;color:var(--soft);font-size:.75rem;letter-spacing:.08em;text-transform:uppercase}
nav ol{list-style:none;margin:0;padding:0;border-left:1px solid var(--line)}
nav a{display:block;padding:.25rem 0 .25rem 1rem;margin-left:-1px;border-left:2px solid transparent;color:inherit;
text-decoration:none}
nav a:hover{border-color:var(--link);color:var(--link)}
main{outline:none}
h1{font-size:2.1rem;line-height:1.15;letter-spacing:-.02em;margin:0}
h2{font-size:1.4rem;letter-spacing:-.01em;margin:0 0 .25rem}
h3{font-size:1.02rem;margin:1.75rem 0 .25rem}
section{margin-top:3.5rem}
a{color:var(--link)}
:focus-visible{outline:3px solid var(--focus);outline-offset:2px;border-radius:3px}
.subtitle{color:var(--soft);margin:.35rem 0 0;font-size:1.05rem}
.how{color:var(--soft);max-width:46rem;margin:.15rem 0 1.1rem}
.name{overflow-wrap:anywhere;unicode-bidi:isolate}
.skip{position:absolute;left:-100vw;background:var(--card);padding:.4rem .8rem;z-index:3}
.skip:focus{left:auto}
section>.skip:focus{position:static;display:inline-block;margin-bottom:.5rem}
.unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.card,.tiles>div{background:var(--card);border:1px solid var(--line);border-radius:10px;box-shadow:var(--shadow)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(10.5rem,1fr));gap:.8rem;margin:1.6rem 0 0}
.tiles>div{padding:.9rem 1.1rem}
.tiles dt{color:var(--soft);font-size:.85rem}
.tiles dd{margin:0}
.tiles .value{font-size:1.8rem;font-weight:650;line-height:1.25;letter-spacing:-.02em;overflow-wrap:anywhere}
.tiles>div:has(.long){grid-column:span 2}
.tiles .long{font-size:1rem;font-weight:500;letter-spacing:0;line-height:1.4;margin-top:.2rem}
.tiles .note{color:var(--soft);font-size:.85rem}
.scroll{overflow-x:auto;max-width:100%;position:relative}
table{border-collapse:collapse}
th{font-weight:600;text-align:left}
button{font:inherit;color:inherit;cursor:pointer}
button:disabled{cursor:default}
.matrix{font-size:.88rem;border-spacing:2px;border-collapse:separate}
.matrix thead th{vertical-align:bottom;text-align:center;padding:.2rem}
.matrix.wide thead th:not(.corner,.sum)>span{writing-mode:vertical-rl;transform:rotate(180deg)}
.matrix tbody th{text-align:right;padding:0 .6rem 0 0;position:sticky;left:0;background:var(--bg);z-index:1;
max-width:14rem;line-height:1.2}.matrix .name{white-space:nowrap}
.matrix thead .corner{color:var(--soft);font-weight:400;font-size:.75rem;text-align:right;padding-right:.6rem;
position:sticky;left:0;background:var(--bg);white-space:nowrap}
.matrix td{padding:0;min-width:clamp(2.1rem,34rem/var(--n),4.2rem);
height:2.4rem;text-align:center;background:var(--card);border-radius:4px}
.matrix.many{font-size:.78rem;border-spacing:1px}.matrix.many td{min-width:1.7rem;height:1.8rem}
.matrix.many button{min-height:1.8rem;padding:0}
.matrix .sum{min-width:0;background:none;color:var(--soft);font-weight:400;padding:0 .5rem;text-align:right}
.matrix button{width:100%;height:100%;min-height:2.4rem;border:1px solid transparent;border-radius:4px;padding:0 .25rem}
.matrix .right{background:color-mix(in srgb,var(--right) calc(8% + var(--s)*52%),var(--card))}
.matrix .wrong{background:color-mix(in srgb,var(--wrong) calc(22% + var(--s)*58%),var(--card));font-weight:650}
.matrix button:hover{border-color:currentColor}
.beside{display:flex;flex-wrap:wrap;gap:1.5rem 3rem;align-items:start}
.beside>.scroll{flex:0 1 auto;min-width:0}
.most{flex:1 1 15rem;max-width:26rem}.most h3{margin:.2rem 0 .4rem}
.most ol{list-style:none;margin:0;padding:0;font-size:.9rem}
.most button{display:flex;flex-wrap:wrap;justify-content:space-between;gap:0 1rem;width:100%;text-align:left;border:0;
border-top:1px solid var(--line);background:none;padding:.45rem .3rem}
.most button:hover{background:color-mix(in srgb,var(--wrong) 18%,transparent)}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.82rem;color:var(--soft);margin:0 0 .6rem}
.entry{display:inline-flex;align-items:center;gap:.4rem}
.key{display:inline-block;width:1.1rem;height:.25rem;border-radius:2px;background:var(--k)}
.key.right{--k:var(--right);height:.8rem}.key.wrong{--k:var(--wrong);height:.8rem}
.key.bar{--k:var(--band);height:.8rem}.key.gap{height:.8rem;background:none;border:1.5px dashed var(--c1)}
.key.ideal{background:none;height:0;border-top:2px dashed var(--soft);border-radius:0}
.opened{border:1px solid var(--line);border-radius:12px;background:var(--card);color:var(--ink);padding:0;
width:min(60rem,calc(100vw - 1.5rem));max-height:calc(100vh - 3rem);overflow:auto;box-shadow:0 12px 50px #0006}
.opened::backdrop{background:#000a}
.opened header{display:flex;justify-content:space-between;align-items:start;gap:1rem;position:sticky;top:0;
background:var(--card);padding:1rem 1.25rem .75rem;border-bottom:1px solid var(--line)}
.opened h3{margin:0}.opened header p{margin:0;color:var(--soft);font-size:.88rem}
.shut{border:1px solid var(--line);background:none;border-radius:6px;padding:.3rem .8rem}
.shut:hover{border-color:currentColor}
.thumbs{display:grid;grid-template-columns:repeat(auto-fill,minmax(8rem,1fr));gap:1rem;padding:1.25rem}
figure{margin:0}
img{display:block;max-width:100%;height:auto;border-radius:6px;background:var(--line)}
img.tiny{image-rendering:pixelated}
.thumbs img{width:7rem;height:7rem;object-fit:contain}
.thumbs figcaption,.under{font-size:.78rem;color:var(--soft);line-height:1.35;margin-top:.35rem}
.thumbs figcaption>span{display:block}
.thumbs .likely:not(:last-child)::after{content:", "}
.file{color:var(--ink)}.soft{color:var(--soft)}
.missing{display:grid;place-items:center;width:7rem;height:7rem;border:1px dashed var(--soft);border-radius:6px;
font-size:.78rem;color:var(--soft)}
.gallery{display:grid;gap:1rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,11.5rem),1fr))}
.gallery.pairs{grid-template-columns:repeat(auto-fill,minmax(min(100%,19rem),1fr))}
.gallery .card{padding:.8rem;display:flex;flex-direction:column;gap:.7rem}
.looks{display:grid;grid-template-columns:repeat(auto-fit,minmax(0,1fr));grid-auto-flow:column;gap:.4rem}
.looks img,.looks .missing{width:100%;aspect-ratio:1;height:auto;object-fit:contain}
.gallery figcaption{display:flex;flex-direction:column;gap:.5rem;flex:1}
dl{margin:0}
.gallery dl>div,.suspects dl>div{display:grid;grid-template-columns:3.2rem 1fr;gap:.4rem;font-size:.9rem}
.gallery dt,.suspects dt,.facts dt{color:var(--soft)}
.gallery dd,.suspects dd,.facts dd{margin:0;overflow-wrap:anywhere}
.gallery dl.wrong div:first-child dd{font-weight:650;color:var(--c1)}
.gallery dl.right div:first-child dd{font-weight:650;color:var(--c0)}
.chances{display:grid;gap:2px}
.chance{display:flex;justify-content:space-between;gap:.5rem;font-size:.8rem;padding:.05rem .4rem;border-radius:3px;
background:linear-gradient(to right,var(--band) calc(var(--v)*100%),transparent 0)}
.under{display:flex;justify-content:space-between;gap:.6rem;margin:auto 0 0}
.under span:last-child{white-space:nowrap}
.suspects{display:grid;gap:.8rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,17rem),1fr))}
.suspects figure{display:grid;grid-template-columns:5.5rem 1fr;gap:.8rem;align-items:center}
.suspects img,.suspects .missing{width:5.5rem;height:5.5rem;object-fit:contain}
.suspects figcaption:only-child{grid-column:1/-1}
.suspects dl>div{grid-template-columns:4rem 1fr}
.suspects .under{display:grid;gap:0;margin-top:.25rem}
.notes{padding-left:1.2rem;max-width:46rem}
.charts{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr))}
.chart{padding:1rem 1rem .5rem;max-width:36rem}
.chart figcaption{display:flex;flex-wrap:wrap;justify-content:space-between;gap:0 1rem;margin-bottom:.3rem}
.chart .legend{margin:0}
svg{display:block;width:100%;height:auto;overflow:visible}
svg text{font-size:12px;fill:var(--soft)}
.grid{stroke:var(--line)}.axis{stroke:var(--soft)}
.line path{fill:none;stroke:var(--k);stroke-width:2.2;stroke-linejoin:round;stroke-linecap:round}
.line.thin path{stroke-width:1;opacity:.35}
.line circle{fill:var(--k);stroke:var(--card);stroke-width:1}
.bar{fill:var(--band)}.gap{fill:none;stroke:var(--c1);stroke-dasharray:3 2}.said{stroke:var(--c1);stroke-width:2}
.ideal{stroke:var(--soft);stroke-dasharray:5 4}.count{fill:var(--soft);opacity:.6}
COLOURS
details{margin-top:1rem}summary{cursor:pointer;padding:.2rem 0;width:fit-content}
.numbers,.texts{margin-top:.6rem;font-size:.88rem}
.numbers th,.numbers td,.texts th,.texts td{padding:.35rem .9rem .35rem 0;border-bottom:1px solid var(--line);
text-align:right}
.numbers th:first-child,.pairs td:nth-child(-n+2),.pairs th:nth-child(-n+2),.texts th,.texts td{text-align:left}
.texts th{font-weight:400;min-width:11rem}.texts td{color:var(--soft);min-width:14rem}
.pairs button{min-width:2.6rem;min-height:1.9rem;border:1px solid transparent;border-radius:4px;font-weight:650;
background:color-mix(in srgb,var(--wrong) 40%,var(--card))}
.pairs button:hover{border-color:currentColor}
.sortable{display:block;min-width:fit-content;max-width:60rem;font-size:.92rem;background:var(--card);
border:1px solid var(--line);border-radius:10px;box-shadow:var(--shadow)}
.sortable thead,.sortable tbody,.sortable tfoot{display:flex;flex-direction:column;reading-flow:flex-visual}
.sortable tr{display:grid;align-items:stretch;
grid-template-columns:minmax(8rem,2fr) repeat(var(--n),minmax(5.4rem,1fr))}
.sortable tr>*{padding:.4rem .75rem;text-align:right;border-bottom:1px solid var(--line);min-width:0}
.sortable tbody tr:hover>*{background-color:color-mix(in srgb,var(--link) 7%,transparent)}
.sortable tr>:first-child{text-align:left;font-weight:600}
.sortable thead th{display:flex;flex-direction:column;align-items:end;justify-content:space-between;
border-bottom:2px solid var(--line);font-size:.85rem;padding-bottom:.2rem}
.sortable thead th:first-child{align-items:start}
thead .name{overflow-wrap:normal}
.sortable tfoot tr>*{border-bottom:0;background:none;color:var(--soft)}
.sortable tfoot tr:first-child>*{border-top:2px solid var(--line);margin-top:-1px}
.share{background:linear-gradient(to right,var(--band) calc(var(--v)*100%),transparent 0)
no-repeat .5rem 50%/calc(100% - 1rem) 72%}
.arrows{display:flex;margin:0 -.35rem}
.arrows label{position:relative;display:grid;place-items:center;width:1.6rem;height:1.6rem;border-radius:5px;
color:var(--soft);font-size:.7rem;cursor:pointer}
.arrows label:hover{color:var(--ink);background:var(--band)}
.arrows input{position:absolute;inset:0;margin:0;opacity:0;cursor:pointer}
.arrows label:has(:checked){background:var(--link);color:var(--card)}
.arrows label:has(:focus-visible){outline:3px solid var(--focus);outline-offset:1px}
SORTS
.cards{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr))}
.facts{padding:1rem 1.2rem}.facts h3{margin:0 0 .5rem}
.facts dl>div{display:grid;grid-template-columns:8.5rem 1fr;gap:.6rem;padding:.3rem 0;border-top:1px solid var(--line);
font-size:.9rem}
.good{color:var(--c0)}
footer{margin-top:4rem;padding-top:1rem;border-top:1px solid var(--line);color:var(--soft);font-size:.82rem}
@media(max-width:60rem){.page{display:block;padding:1.25rem 1rem}nav{position:static;margin-bottom:1.5rem}
nav ol{display:flex;flex-wrap:wrap;gap:.1rem .9rem;border:0}nav a{padding:.2rem 0;margin:0;border:0;
text-decoration:underline}nav a:hover{border:0}section{margin-top:2.6rem}}
@media(max-width:32rem){h1{font-size:1.7rem}svg text{font-size:15px}
.tiles{grid-template-columns:1fr 1fr}.tiles>div{padding:.7rem .8rem}
.tiles .value:not(.long){font-size:1.4rem}.thumbs{grid-template-columns:repeat(auto-fill,minmax(6.4rem,1fr));gap:.8rem;
padding:1rem}
.thumbs img,.thumbs .missing{width:6.4rem;height:6.4rem}.sortable{font-size:.84rem}
.sortable tr{grid-template-columns:minmax(4.4rem,2fr) repeat(var(--n),minmax(4.2rem,1fr))}
.sortable tr>*{padding:.4rem .3rem}.sortable thead th{font-size:.7rem}.facts dl>div{grid-template-columns:7rem 1fr}}
@media(prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
@media print{nav,.skip,.arrows{display:none}.page{display:block;padding:0}.card,.opened,.tiles>div{box-shadow:none}
.scroll{overflow:visible}figure,.card,tr{break-inside:avoid}h2,h3{break-after:avoid}
*{print-color-adjust:exact}}
"""

SORTS = "".join(
    f".sortable:has(.by-{key}{place}:checked) .rows tr{{order:var(--{key}{place})}}"
    for place in range(MOST_COLUMNS)
    for key in "ad"
)
COLOURS = "".join(f".c{number}{{--k:var(--c{number})}}" for number in range(6))
STYLE = LOOK.replace("DARK", DARK.strip()).replace("COLOURS", COLOURS).replace("SORTS", SORTS).replace("\n", " ")
