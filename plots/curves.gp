# gnuplot -c curves.gp TERMINAL OUTPUT DATA TITLE SUBTITLE PANELS STYLES XLABEL BAND
# PANELS: the y label of each panel; a no-break space stands for a space in it. STYLES: a number for each line of a panel,
# which says its colour and dash.
# BAND: 1 draws low to high. DATA: a block for each panel and series, panel by panel, two empty lines between: the
# series' name, then rows of step, mean, low, high.
set encoding utf8
panels = words(ARG6)
series = words(ARG7)
columns = panels > 1 ? 2 : 1
rows = (panels + columns - 1) / columns
dumb = ARG1 eq "dumb"

width = columns == 1 ? 800 : 1160
key_lines = series > 1 ? (series + 2) / 3 : 0
head = 62
foot = 16 + 22 * key_lines
height = head + foot + 300 * rows
if (ARG1 eq "svg") {
    set terminal svg size width, height font "DejaVu Sans,Helvetica,Arial,sans-serif,13" background "white" noenhanced
}
if (ARG1 eq "png") {
    if (strstrt(GPVAL_TERMINALS, "pngcairo") > 0) {
        set terminal pngcairo size width, height font "DejaVu Sans,10" background "white" noenhanced
    } else {
        set terminal png size width, height font "DejaVu Sans,10" background "white" noenhanced
    }
}
if (dumb) { set terminal dumb size 100, 26 noenhanced } else { set output ARG2 }

# Okabe and Ito's colours, told apart by nearly all eyes; the dash changes when they run out.
array colours[7] = [0x0072B2, 0xD55E00, 0x009E73, 0xCC79A7, 0xE69F00, 0x56B4E9, 0x000000]
style(s) = int(word(ARG7, s + 1))
colour(s) = colours[style(s) % 7 + 1]
dash(s) = style(s) / 7 + 1

set datafile separator "\t"
set datafile missing "nan"
set border 3 lw 1
set tics nomirror out
set xlabel ARG8
set format x "%g"
set autoscale noextend
set xrange [0:*]
set offsets 0, 0, graph 0.06, graph 0.06

if (dumb) {
    set title ARG4 . ": " . word(ARG6, 1)
    if (series > 1) { set key outside bottom center horizontal noenhanced } else { unset key }
    plot for [s = 0:series - 1] ARG3 index s using 1:2 with lines title columnheader(1)
} else {
    set grid ytics lt 1 lc rgb "#d8d8d8" lw 0.8 dt solid
    set style fill transparent solid 0.18 noborder
    set multiplot
    set label 1 ARG4 at screen 0.5, screen 1 - 20.0 / height center font ",15"
    set label 2 ARG5 at screen 0.5, screen 1 - 42.0 / height center tc rgb "#444444"
    unset key
    panel_height = (1.0 - (head + foot) / (1.0 * height)) / rows
    do for [p = 0:panels - 1] {
        set size 1.0 / columns, panel_height
        set origin (p % columns) / (1.0 * columns), 1.0 - head / (1.0 * height) - panel_height * (p / columns + 1)
        set ylabel word(ARG6, p + 1)
        if (ARG9 eq "1") {
            plot for [s = 0:series - 1] ARG3 index p * series + s using 1:3:4 \
                     with filledcurves lc rgb colour(s) notitle, \
                 for [s = 0:series - 1] ARG3 index p * series + s using 1:2 \
                     with lines lc rgb colour(s) lw 2 dt dash(s) notitle
        } else {
            plot for [s = 0:series - 1] ARG3 index p * series + s using 1:2 \
                     with lines lc rgb colour(s) lw 2 dt dash(s) notitle
        }
        unset label
    }
    if (key_lines > 0) {
        # The legend is a plot of its own below the panels: nothing to see in it but the key.
        set size 1, foot / (1.0 * height)
        set origin 0, 0
        set margins 0, 0, 0, 0
        unset border
        unset tics
        unset xlabel
        unset ylabel
        unset grid
        set offsets 0, 0, 0, 0
        set xrange [0:1]
        set yrange [0:1]
        set key center center horizontal Left reverse maxcols 3 samplen 3 noenhanced
        plot for [s = 0:series - 1] ARG3 index s using (NaN):(NaN) \
                 with lines lc rgb colour(s) lw 3 dt dash(s) title columnheader(1)
    }
    unset multiplot
}
