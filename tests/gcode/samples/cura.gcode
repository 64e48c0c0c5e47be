;FLAVOR:Marlin
;TIME:3600.5
;Filament used: 1.5m, 0.25m
;Layer height: 0.15
;MINX:10
;MINY:10
;MINZ:0.27
;MAXX:20
;MAXY:20
;MAXZ:19.92
;Nozzle diameter = 0.4
;Filament type = PLA,PETG
;Filament name = Generic PLA
;Filament weight = [4.47, 0.75]
;Generated with Cura_SteamEngine 5.6.0
M190 S60.0
M191 S35
M109 S200.5
G28
;LAYER_COUNT:131
;LAYER:0
;TIME_ELAPSED:9999
