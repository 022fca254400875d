# gnuplot -c bars.gp TERMINAL OUTPUT DATA TITLE SUBTITLE PANELS RANGES XLABEL COLUMNS
# COLUMNS: 11: ours only; 21, 22: the paper's panel beside, in one or two readings.
# PANELS: for each panel its title and its y label; a no-break space stands for a space in them.
# RANGES: for each panel lowest and highest y. DATA: one block a panel, two empty lines between: position, label, value,
# error, second value (the paper's other reading), text above the bar, height of that text.
set encoding utf8
panels = words(ARG6) / 2
columns = int(ARG9[1:1])
readings = int(ARG9[2:2])
rows = (panels + columns - 1) / columns
dumb = ARG1 eq "dumb"

width = columns == 1 ? 760 : 1240
head = 66
height = head + 330 * rows + 10
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
if (dumb) { set terminal dumb size 100, 24 noenhanced } else { set output ARG2 }

set datafile separator "\t"
set datafile missing "nan"
set border 3 lw 1
set tics nomirror out
set xtics scale 0
set xlabel ARG8
unset key

if (dumb) {
    set title word(ARG6, 1) . ", " . word(ARG6, 2)
    set style fill solid
    set boxwidth 0.5
    set yrange [real(word(ARG7, 1)):real(word(ARG7, 2))]
    plot ARG3 index 0 using 1:3:xtic(2) with boxes notitle, ARG3 index 0 using 1:7:6 with labels offset 0, 1 notitle
} else {
    set grid ytics lt 1 lc rgb "#d8d8d8" lw 0.8 dt solid
    set style fill solid 0.85 noborder
    set multiplot
    set label 1 ARG4 at screen 0.5, screen 1 - 20.0 / height center font ",15"
    set label 2 ARG5 at screen 0.5, screen 1 - 43.0 / height center tc rgb "#444444"
    panel_height = (1.0 - (head + 10) / (1.0 * height)) / rows
    do for [p = 0:panels - 1] {
        paper = columns == 2 && p % 2 == 1
        set size 1.0 / columns, panel_height
        set origin (p % columns) / (1.0 * columns), 1.0 - head / (1.0 * height) - panel_height * (p / columns + 1)
        set title word(ARG6, 2 * p + 1) tc rgb (paper ? "#8a3d00" : "#00507f")
        set ylabel word(ARG6, 2 * p + 2)
        set yrange [real(word(ARG7, 2 * p + 1)):real(word(ARG7, 2 * p + 2))]
        set xrange [*:*]
        set offsets 0.6, 0.6, 0, 0
        if (paper && readings == 2) {
            # Two readings of the paper side by side.
            set key top left Left reverse samplen 1.5 noenhanced
            set boxwidth 0.36
            plot ARG3 index p using ($1 - 0.2):3 with boxes lc rgb "#D55E00" title "as printed", \
                 ARG3 index p using ($1 + 0.2):5 with boxes lc rgb "#E69F00" title "as its running text needs it", \
                 ARG3 index p using 1:(real(word(ARG7, 2 * p + 1))):xtic(2) with points pt 7 ps 0.01 notitle, \
                 ARG3 index p using ($1 - 0.2):3:(sprintf("%.2f", $3)) with labels offset 0, 0.7 notitle, \
                 ARG3 index p using ($1 + 0.2):5:(sprintf("%.2f", $5)) with labels offset 0, 0.7 notitle
            unset key
        } else {
            set boxwidth 0.55
            plot ARG3 index p using 1:3:xtic(2) with boxes lc rgb (paper ? "#D55E00" : "#0072B2") notitle, \
                 ARG3 index p using 1:($3 - $4):(0):(2 * $4) \
                     with vectors heads size 0.08, 90 lw 1.5 lc rgb "#222222" notitle, \
                 ARG3 index p using 1:7:6 with labels offset 0, 0.7 notitle
        }
        unset label
    }
    unset multiplot
}
