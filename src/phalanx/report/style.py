"""The one style sheet of all reports. Ink and paper; the one colour is the attacker's."""

STYLE = """
:root{--paper:#fcfbf8;--ink:#1c1d20;--soft:#5e6167;--rule:#dcd8cf;--wash:#f3f0e9;--harm:#b02a12;
--serif:ui-serif,"New York","Iowan Old Style",Charter,Palatino,Georgia,"Liberation Serif",serif;
--sans:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Liberation Sans",Arial,sans-serif;
--mono:ui-monospace,"SF Mono",Menlo,Consolas,"Liberation Mono",monospace;color-scheme:light}
@media screen and (prefers-color-scheme:dark){:root{--paper:#141518;--ink:#ebe8e1;--soft:#a3a19b;--rule:#36373c;
--wash:#1d1e22;--harm:#ff8f6e;color-scheme:dark}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:17px/1.55 var(--sans);overflow-wrap:break-word}
main,footer{max-width:1080px;margin:0 auto;padding:0 32px}
h1,h2,.verdict,.figure b,.no{font-family:var(--serif)}
h1{font-size:clamp(34px,5.6vw,58px);line-height:1.08;letter-spacing:-.018em;font-weight:500;margin:0 0 28px;
max-width:17em;text-wrap:balance}
h2{font-size:27px;line-height:1.2;font-weight:500;letter-spacing:-.01em;margin:0;text-wrap:balance}
h3{font-size:15px;line-height:1.35;margin:0;font-weight:650}
section>h3{margin:34px 0 8px}
p{margin:0 0 12px;max-width:66ch}
a{color:inherit;text-decoration-color:var(--rule);text-underline-offset:3px}
a:hover{text-decoration-color:currentColor}
:focus-visible{outline:2px solid var(--harm);outline-offset:3px}
header{padding:72px 0 0}
.kicker{font-size:14px;color:var(--soft);margin:0 0 22px}
.verdict{font-size:clamp(20px,2.5vw,25px);line-height:1.42;max-width:36em;margin:0 0 44px}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(178px,1fr));gap:28px 30px;margin:0 0 36px;padding:0}
.six{grid-template-columns:repeat(3,minmax(0,1fr))}
.figure{border-top:2px solid var(--ink);padding:12px 0 0}
.figure dt{font-size:14px;line-height:1.35;color:var(--soft);margin:0 0 4px}
.figure dd{margin:0;font-size:14px;line-height:1.45;color:var(--soft)}
.figure b{display:block;font-size:40px;line-height:1.15;font-weight:500;color:var(--ink);letter-spacing:-.02em;
font-variant-numeric:lining-nums tabular-nums;margin:0 0 6px;white-space:nowrap}
.figure b.words{font-size:27px;line-height:1.7}
nav{font-size:14px;line-height:2;color:var(--soft);border-top:1px solid var(--rule);padding:12px 0 0}
nav a{margin:0 18px 0 0;white-space:nowrap}
section{margin:84px 0 0;scroll-margin-top:24px}
.head{display:grid;grid-template-columns:minmax(0,5fr) minmax(0,7fr);gap:12px 48px;border-top:1px solid var(--ink);
padding:16px 0 28px}
.head p{margin:3px 0 10px}.head p:last-child{margin-bottom:0}
.no{color:var(--soft);font-weight:400;margin:0 10px 0 0}
.harm{color:var(--harm)}
.soft{color:var(--soft)}
.scroll{overflow-x:auto;margin:0 0 20px}
table{border-collapse:collapse;width:100%;font-size:15px;line-height:1.45;font-variant-numeric:lining-nums tabular-nums}
th,td{text-align:left;vertical-align:top;padding:10px 22px 10px 0;border-bottom:1px solid var(--rule)}
th:last-child,td:last-child{padding-right:0}
thead th{font-size:13px;font-weight:400;color:var(--soft);vertical-align:bottom;border-bottom-color:var(--ink)}
tbody th{font-weight:600}
th.n,td.n{text-align:right;white-space:nowrap}
td small,th small{display:block;font-size:13px;line-height:1.45;font-weight:400;color:var(--soft)}
.outcome{white-space:nowrap;font-weight:600}
.split td,.split thead th{text-align:right;padding:7px 12px}
.split thead th:first-child{text-align:left;padding-left:0}.split th small{display:inline;margin-left:8px}
.split tbody th{padding:7px 12px 7px 0;white-space:nowrap}
.t1{background:color-mix(in srgb,var(--ink) 4%,transparent)}
.t2{background:color-mix(in srgb,var(--ink) 10%,transparent)}
.t3{background:color-mix(in srgb,var(--ink) 17%,transparent)}
.t4{background:color-mix(in srgb,var(--ink) 25%,transparent)}
figure{margin:0;break-inside:avoid}
figcaption{font-size:14px;line-height:1.45;color:var(--soft)}
figcaption h3{color:var(--ink)}
svg{display:block;width:100%;height:auto;overflow:visible}
svg text{font:11.5px var(--sans);fill:var(--ink);font-variant-numeric:lining-nums tabular-nums}
svg text.soft{fill:var(--soft)}svg text.label{font-size:12.5px}svg text.end,svg text.strong{font-weight:600}
svg text.harm{fill:var(--harm)}
.guide{stroke:var(--rule);stroke-width:1;fill:none}.axis{stroke:var(--soft);stroke-width:1}
.line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.line.ink{stroke:var(--ink)}.line.harm{stroke:var(--harm);stroke-dasharray:1.5 4.5;stroke-width:2.6}
.limit{stroke:var(--ink);stroke-width:1;stroke-dasharray:7 4}
.dot.ink,.cell.ink,.cell{fill:var(--ink)}.dot.harm,.cell.harm{fill:var(--harm)}
.ring{fill:var(--paper);stroke:var(--ink);stroke-width:1.6}.tick{stroke:var(--ink);stroke-width:2.4}
.cross{stroke:var(--soft);stroke-width:1.8;fill:none}
.frame{fill:var(--wash)}.void{fill:var(--harm);fill-opacity:.09}.struck{stroke:var(--harm);stroke-width:1.6}
.crossed{stroke:var(--harm);stroke-width:.1;fill:none}
.outline{fill:none;stroke:var(--ink);stroke-width:1.5}.invalid{fill:none;stroke:var(--soft);stroke-dasharray:3 3}
.key{display:inline-block;width:auto;vertical-align:-2px;margin:0 8px 0 0}
.bar{width:120px;margin:3px 0 0 auto}.bar.near{margin:4px 0 0}
.digit{fill:var(--ink);background:var(--wash);shape-rendering:crispEdges;margin:0 0 14px}
.keys{display:flex;flex-wrap:wrap;gap:6px 34px;margin:0 0 26px;padding:0;list-style:none;font-size:14px}
.signs{gap:10px 26px}.signs li{flex:0 1 auto}.signs b{display:inline-block;min-width:1.1em}
.signs small{display:block;font-size:13px;color:var(--soft)}
.finding{display:grid;grid-template-columns:136px minmax(0,1fr);gap:8px 32px;border-top:1px solid var(--rule);
padding:22px 0 26px}
.finding:first-of-type{border-top:0;padding-top:0}
.finding h3{font:500 21px/1.3 var(--serif);margin:0 0 8px}.finding p{margin:0 0 14px}
.mark b{display:block;font:500 21px/1.3 var(--serif)}
.mark small{display:block;font-size:13px;line-height:1.6;color:var(--soft)}
.facts{margin:0;font-size:15px;line-height:1.45}
.facts div{display:grid;grid-template-columns:112px minmax(0,1fr);gap:0 18px;border-top:1px solid var(--rule);
padding:8px 0}
.facts.broad{margin:0 0 8px}.facts.broad div{grid-template-columns:180px minmax(0,1fr)}
.facts dt{color:var(--soft)}.facts dd{margin:0}
.facts small{display:block;font-size:13px;color:var(--soft)}
.gauge{display:flex;gap:10px;align-items:center;font-size:13px;color:var(--soft);margin:4px 0 0}
.gauge .bar.near{margin:0}
.grid{display:grid;gap:38px 32px;margin:0 0 24px}
.many{grid-template-columns:repeat(auto-fill,minmax(226px,1fr))}
.three{grid-template-columns:repeat(3,minmax(0,1fr));max-width:860px}
.two{grid-template-columns:repeat(auto-fit,minmax(min(400px,100%),1fr))}
.pairs{grid-template-columns:repeat(2,minmax(0,1fr));gap:30px 40px}
.pairs figure{display:flex;flex-direction:column;justify-content:space-between;border-top:1px solid var(--rule)}
.pairs figcaption{padding:8px 0 0;margin:0 0 6px}
.many figcaption{min-height:5.4em;margin:0 0 6px;padding:8px 0 0;border-top:1px solid var(--rule)}
.two figcaption{margin:0 0 14px}
.absent{display:grid;place-items:center;aspect-ratio:26/17;background:var(--wash);color:var(--soft);font-size:15px}
.absent.square{aspect-ratio:1;margin:0 0 14px}
.wide svg{min-width:720px}.wide{margin-top:14px}
details{margin:0 0 14px;font-size:14px}
summary{cursor:pointer;color:var(--soft);padding:6px 0;text-decoration:underline;text-decoration-color:var(--rule);
text-underline-offset:3px}
details table{font-size:13px}details th,details td{padding:5px 14px 5px 0}
.plain{margin:0;padding:0;list-style:none;max-width:none;columns:2;column-gap:48px}
.plain li{padding:11px 0;border-top:1px solid var(--rule);break-inside:avoid}
.aside{border-left:3px solid var(--ink);padding:2px 0 2px 20px;margin:30px 0 0}
pre{font:14px/1.6 var(--mono);background:var(--wash);padding:18px 20px;margin:0 0 20px;white-space:pre-wrap;
overflow-wrap:anywhere}
code{font-family:var(--mono);font-size:.9em;overflow-wrap:anywhere}
footer{margin-top:88px;padding-bottom:64px;font-size:14px;color:var(--soft)}
footer p{border-top:1px solid var(--rule);padding:16px 0 0;max-width:none}
@media (max-width:720px){body{font-size:16px}main,footer{padding:0 20px}header{padding:40px 0 0}section{margin-top:60px}
.head{grid-template-columns:1fr;padding-bottom:20px}.three{gap:16px}.plain{columns:1}.many figcaption{min-height:0}
.many svg{max-width:380px}
.figures,.six{grid-template-columns:1fr 1fr;gap:24px 20px}.figure b{font-size:33px}.figure b.words{font-size:22px}
.three figcaption{font-size:13px}
.pairs,.finding{grid-template-columns:1fr}.finding{gap:4px}
.mark{display:flex;flex-wrap:wrap;gap:0 14px;align-items:baseline}
.facts div,.facts.broad div{grid-template-columns:1fr;gap:2px}
.stacked,.stacked tbody,.stacked tr,.stacked th,.stacked td{display:block;width:100%}
.stacked thead{display:none}.stacked tr{border-top:1px solid var(--ink);padding:10px 0 16px}
.stacked th,.stacked td,.stacked td.n{border:0;padding:3px 0;text-align:left;white-space:normal}
.stacked td{display:grid;grid-template-columns:8.6em minmax(0,1fr);gap:0 12px}
.stacked td small{grid-column:2}.stacked td .bar{margin:3px 0 0;grid-column:2}
.stacked td::before{content:attr(data-label);color:var(--soft);font-size:13px}}
@page{size:A4;margin:16mm 15mm}
@media print{body{font-size:10.5pt;background:#fff}main,footer{max-width:none;padding:0}header{padding:0}
section{margin-top:36px}h1{font-size:32pt}h2{font-size:17pt}.verdict{font-size:14pt;margin-bottom:26px}
.figure b{font-size:23pt}.figures{grid-template-columns:repeat(5,1fr);gap:14px}.figure b.words{font-size:14pt}
.six{grid-template-columns:repeat(3,1fr)}
nav,details{display:none}.scroll{overflow:visible}table{font-size:9pt}th,td{padding:6px 12px 6px 0}
.split td{padding:4px 8px}
.many{grid-template-columns:repeat(3,1fr);gap:18px 20px}.many figcaption{font-size:8pt}.wide svg{min-width:0}
.finding,.pairs figure{break-inside:avoid}.finding{grid-template-columns:96px 1fr}.finding h3,.mark b{font-size:13pt}
.facts,.signs{font-size:9pt}.pairs{grid-template-columns:1fr 1fr}
.two{grid-template-columns:1fr 1fr}.three{max-width:430px}.head,tr{break-inside:avoid}.head{break-after:avoid}
figcaption,td small,th small{font-size:8pt}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
